//! A slow wire: a connection to a USB/IP server that carries a few megabytes a second to it, so that what is to happen in the middle of an
//! update does.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::Duration,
};

/// Bytes that go at once, and the time for which nothing does behind them.
const PIECE: usize = 32 << 10;
const PAUSE: Duration = Duration::from_millis(5);

/// A wire, for as long as the test runs.
pub(crate) struct Wire {
    /// Where hosts find it.
    pub(crate) address: String,
    /// How many connections there are.
    live: Arc<(Mutex<usize>, Condvar)>,
}

impl Wire {
    /// A slow wire to a server.
    pub(crate) fn to(server: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let address = listener.local_addr().expect("it has an address").to_string();
        let wire = Self { address, live: Arc::default() };
        let (server, live) = (server.to_owned(), Arc::clone(&wire.live));
        thread::spawn(move || {
            for host in listener.incoming().map_while(Result::ok) {
                // A server that is gone takes no connection.
                let _ = connect(host, &server, &live);
            }
        });
        wire
    }

    /// Waits until the server has seen the end of every connection: whoever comes next does not meet the one before.
    pub(crate) fn wait_for_end(&self) {
        let (live, changed) = &*self.live;
        let live = live.lock().unwrap_or_else(PoisonError::into_inner);
        drop(changed.wait_while(live, |live| *live > 0).unwrap_or_else(PoisonError::into_inner));
    }
}

fn connect(host: TcpStream, server: &str, live: &Arc<(Mutex<usize>, Condvar)>) -> io::Result<()> {
    let server = TcpStream::connect(server)?;
    // Many of the messages are short, and each waits for the other side's.
    host.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut from_server, mut to_host) = (server.try_clone()?, host.try_clone()?);
    *live.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
    let live = Arc::clone(live);
    thread::spawn(move || {
        let _ = io::copy(&mut from_server, &mut to_host);
        // With no host any more it still ends when the server closes its side.
        let _ = io::copy(&mut from_server, &mut io::sink());
        let _ = to_host.shutdown(Shutdown::Both);
        *live.0.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        live.1.notify_all();
    });
    thread::spawn(move || carry(host, &server));
    Ok(())
}

fn carry(mut host: TcpStream, mut server: &TcpStream) {
    let mut piece = vec![0; PIECE];
    while let Ok(length @ 1..) = host.read(&mut piece) {
        if server.write_all(&piece[..length]).is_err() {
            break;
        }
        if length == PIECE {
            thread::sleep(PAUSE);
        }
    }
    // The host is gone; what the server still says goes to nobody.
    let _ = server.shutdown(Shutdown::Write);
}
