//! Words to a service manager, as sd_notify(3) has them: that the daemon is up, how it stands, that it lives, that it ends.

use std::{
    env,
    ffi::OsStr,
    io::{self, IoSlice},
    mem::MaybeUninit,
    os::{
        fd::{AsFd as _, BorrowedFd},
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg},
};

/// How long a service manager may take to come to what it was told.
const BARRIER: Duration = Duration::from_secs(5);
/// From words that there was no room for to the next try.
const AGAIN: Duration = Duration::from_millis(100);

/// A service manager that wants to be told.
#[derive(Debug)]
pub struct Notify {
    socket: UnixDatagram,
    /// How often it wants to hear that the daemon lives, if it does: half of the time it waits.
    watchdog: Option<Duration>,
    /// When it is to hear of that next.
    next: Duration,
    /// It has still to hear that the daemon serves: without that it would end the daemon, and a trial's boot with it.
    unready: bool,
}

impl Notify {
    /// The one that the environment names; `None` without one.
    ///
    /// # Errors
    /// There is one, and it cannot be reached.
    pub fn from_environment() -> io::Result<Option<Self>> {
        let Some(name) = env::var_os("NOTIFY_SOCKET") else { return Ok(None) };
        let text = |name| env::var(name).unwrap_or_default();
        let own = std::process::id().to_string();
        let watchdog = watchdog(&text("WATCHDOG_USEC"), &text("WATCHDOG_PID"), &own);
        Self::new(&name, watchdog).map(Some)
    }

    fn new(name: &OsStr, watchdog: Option<Duration>) -> io::Result<Self> {
        let address = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(name)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        // The loop is not to wait for a service manager that is behind.
        socket.set_nonblocking(true)?;
        Ok(Self { socket, watchdog, next: Duration::ZERO, unready: false })
    }

    /// The daemon serves.
    pub fn ready(&mut self) {
        self.unready = !self.send("READY=1");
    }

    /// The daemon is about to end.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// How it stands, in one line. Returns whether that is done with: false asks for another try.
    pub fn status(&self, status: &str) -> bool {
        self.send(&format!("STATUS={status}"))
    }

    /// The daemon lives. Returns when this is to be called again.
    pub fn alive(&mut self, now: Duration) -> Option<Duration> {
        if self.unready {
            self.ready();
        }
        let again = self.unready.then(|| now.saturating_add(AGAIN));
        let watchdog = self.watchdog.map(|interval| {
            if now >= self.next {
                self.send("WATCHDOG=1");
                self.next = now.saturating_add(interval);
            }
            self.next
        });
        [again, watchdog].into_iter().flatten().min()
    }

    /// Has it keep an open file under this name, for the next process of the service. What it keeps under that name is forgotten.
    ///
    /// # Errors
    /// It cannot be told. Whether it keeps files at all is its to say, and it does not.
    pub fn keep(&self, name: &str, file: BorrowedFd<'_>) -> io::Result<()> {
        self.send_with(&format!("FDSTOREREMOVE=1\nFDNAME={name}"), None)?;
        // FDPOLL: a file that is hung up, as those of an unbound gadget are, is kept all the same.
        self.send_with(&format!("FDSTORE=1\nFDNAME={name}\nFDPOLL=0"), Some(file))
    }

    /// Has it close what it keeps under this name.
    pub fn forget(&self, name: &str) {
        self.send(&format!("FDSTOREREMOVE=1\nFDNAME={name}"));
    }

    /// Waits until it has heard all of this. Words of a process that has ended are nobody's.
    ///
    /// # Errors
    /// It does not answer in time.
    pub fn barrier(&self) -> io::Result<()> {
        let (ours, its) = io::pipe()?;
        self.send_with("BARRIER=1", Some(its.as_fd()))?;
        drop(its);
        let limit = Timespec { tv_sec: BARRIER.as_secs().cast_signed(), tv_nsec: 0 };
        // It closes its end when it has come to this word.
        match poll(&mut [PollFd::new(&ours, PollFlags::empty())], Some(&limit))? {
            0 => Err(io::ErrorKind::TimedOut.into()),
            _ => Ok(()),
        }
    }

    /// Words that must not be lost, with a file.
    fn send_with(&self, words: &str, file: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let files = file.as_slice();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !files.is_empty() {
            ancillary.push(SendAncillaryMessage::ScmRights(files));
        }
        self.socket.set_nonblocking(false)?;
        let sent =
            sendmsg(&self.socket, &[IoSlice::new(words.as_bytes())], &mut ancillary, SendFlags::NOSIGNAL);
        self.socket.set_nonblocking(true)?;
        sent.map(drop).map_err(io::Error::from)
    }

    /// Returns whether it is done with: false asks for another try, where there was no room.
    fn send(&self, words: &str) -> bool {
        match self.socket.send(words.as_bytes()) {
            Ok(_) => true,
            Err(error) => {
                log::debug!("the service manager was not told {words}: {error}");
                error.kind() != io::ErrorKind::WouldBlock
            }
        }
    }
}

/// How often to say that the daemon lives, from WATCHDOG_USEC and WATCHDOG_PID.
fn watchdog(microseconds: &str, of: &str, own: &str) -> Option<Duration> {
    let microseconds = microseconds.parse().ok().filter(|&microseconds: &u64| microseconds > 0)?;
    (of.is_empty() || of == own).then(|| Duration::from_micros(microseconds) / 2)
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        io::{IoSliceMut, Read as _, Write as _},
        os::fd::OwnedFd,
        thread,
    };

    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 200];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn a_service_manager_hears_what_there_is_to_hear() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let abstract_name = format!("inbandd-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&abstract_name).unwrap();
        for (manager, name) in [
            (UnixDatagram::bind(&path).unwrap(), path.clone().into_os_string()),
            (UnixDatagram::bind_addr(&address).unwrap(), format!("@{abstract_name}").into()),
        ] {
            let mut notify = Notify::new(&name, Some(Duration::from_secs(5))).unwrap();
            notify.ready();
            assert!(notify.status("one"));
            assert!(notify.status("two"));
            assert_eq!(notify.alive(Duration::from_secs(9)), Some(Duration::from_secs(14)));
            assert_eq!(notify.alive(Duration::from_secs(13)), Some(Duration::from_secs(14)));
            assert_eq!(notify.alive(Duration::from_secs(14)), Some(Duration::from_secs(19)));
            notify.stopping();
            for words in ["READY=1", "STATUS=one", "STATUS=two", "WATCHDOG=1", "WATCHDOG=1", "STOPPING=1"] {
                assert_eq!(heard(&manager), words);
            }
        }
    }

    /// What was heard, and the file that came with it.
    fn taken(socket: &UnixDatagram) -> (String, Option<OwnedFd>) {
        let mut buffer = [0; 200];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let parts = &mut [IoSliceMut::new(&mut buffer)];
        let length = recvmsg(socket, parts, &mut ancillary, RecvFlags::empty()).unwrap().bytes;
        let files: Vec<_> = ancillary
            .drain()
            .flat_map(|message| match message {
                RecvAncillaryMessage::ScmRights(files) => files.collect(),
                _ => Vec::new(),
            })
            .collect();
        assert!(files.len() <= 1);
        (String::from_utf8(buffer[..length].to_vec()).unwrap(), files.into_iter().next())
    }

    #[test]
    fn files_are_kept_by_name_and_a_barrier_waits_until_that_was_heard() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let notify = Notify::new(path.as_os_str(), None).unwrap();
        let (mut kept, ours) = io::pipe().unwrap();
        notify.keep("inband-0.ep0", ours.as_fd()).unwrap();
        drop(ours);
        assert_eq!(heard(&manager), "FDSTOREREMOVE=1\nFDNAME=inband-0.ep0");
        let (words, file) = taken(&manager);
        assert_eq!(words, "FDSTORE=1\nFDNAME=inband-0.ep0\nFDPOLL=0");
        let mut file = File::from(file.unwrap());
        file.write_all(b"it is the one").unwrap();
        drop(file);
        let mut text = String::new();
        kept.read_to_string(&mut text).unwrap();
        assert_eq!(text, "it is the one");

        let waits = thread::spawn(move || notify.barrier());
        let (words, file) = taken(&manager);
        assert_eq!(words, "BARRIER=1");
        drop(file);
        waits.join().unwrap().unwrap();
    }

    #[test]
    fn a_service_manager_that_has_no_room_hears_it_later() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let others = UnixDatagram::unbound().unwrap();
        others.set_nonblocking(true).unwrap();
        let mut full = 0;
        while others.send_to(b"noise", &path).is_ok() {
            full += 1;
        }
        let mut notify = Notify::new(path.as_os_str(), None).unwrap();
        notify.ready();
        assert!(!notify.status("one"));
        assert_eq!(notify.alive(Duration::ZERO), Some(AGAIN));
        for _ in 0..full {
            assert_eq!(heard(&manager), "noise");
        }
        assert!(notify.status("one"));
        assert_eq!(notify.alive(AGAIN), None);
        assert_eq!([heard(&manager), heard(&manager)], ["STATUS=one", "READY=1"]);
    }

    #[test]
    fn a_service_manager_that_is_not_there_is_an_error_and_one_that_goes_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        assert!(Notify::new(path.as_os_str(), None).is_err());
        let manager = UnixDatagram::bind(&path).unwrap();
        let mut notify = Notify::new(path.as_os_str(), None).unwrap();
        drop(manager);
        notify.ready();
        assert_eq!(notify.alive(Duration::ZERO), None, "nobody asked for it");
    }

    #[test]
    fn the_watchdog_is_fed_twice_in_its_time() {
        let second = Some(Duration::from_secs(1));
        assert_eq!(watchdog("2000000", "", "7"), second);
        assert_eq!(watchdog("2000000", "7", "7"), second);
        assert_eq!(watchdog("2000000", "8", "7"), None);
        for none in ["", "0", "-1", "1s"] {
            assert_eq!(watchdog(none, "", "7"), None);
        }
    }
}
