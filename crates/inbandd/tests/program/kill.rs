//! The daemon killed at any moment of an update: a bootable slot, true pages, and the next update works.
//!
//! `INBAND_KILL_ROUNDS` says how often (default 50), `INBAND_KILL_SEED` from which seed; a failure names its own.

use std::{
    env, fs,
    net::SocketAddr,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use inband_dfu::{
    host::{End, Error},
    wire::{DETACH_TIMEOUT_MS, Request},
};
use inband_session::{ResultCode, SessionState};
use inband_store::{Slot, SlotState, boot, record::newest};
use inband_usb::{EndpointAddress, HostCompletion, HostDevice, HostError, HostTransfer, TransferId};
use inband_virtual::usbip::Client;

use crate::{
    home::{Home, Running, SLOT, good_config},
    host,
    package::{Package, Random, noise},
    remote::{self, settled},
};

const RUN_TIME: u16 = 1;
const DFU: u16 = 2;
/// Bytes of an image: enough blocks to be killed between, few enough for a thousand rounds.
const IMAGE_LENGTH: usize = 120_000;

/// When the daemon is to die.
struct Doom {
    /// With the submission of the transfer of this number, counted from 0 over the whole update.
    transfer: u64,
    /// And so long behind it, so that it happens in the daemon's own steps, too.
    delay: Duration,
}

/// The daemon of a round, and what was sent to it.
struct Victim {
    running: Running,
    doom: Option<Doom>,
    alive: bool,
    transfers: u64,
    /// The last thing that the host knows for sure.
    known: Known,
}

/// What a host has seen, in the order in which it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Known {
    /// No payload was sent.
    Nothing,
    /// Payload was sent.
    Sent,
    /// The device has taken the block with the head, which it does not before the session is in its record.
    Begun,
    /// All but the last block was taken, and the last one was sent.
    LastSent,
    /// The device has taken the last block.
    Staged,
}

impl Victim {
    /// Counts a transfer, and kills the daemon if this is the one.
    fn count(&mut self) {
        if self.doom.as_ref().is_some_and(|doom| doom.transfer == self.transfers) {
            self.kill();
        }
        self.transfers += 1;
    }

    fn kill(&mut self) {
        let Some(doom) = self.doom.take() else { return };
        let until = Instant::now() + doom.delay;
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        self.alive = false;
        self.running.child.kill().unwrap();
        self.running.child.wait().unwrap();
    }

    const fn address(&self) -> SocketAddr {
        self.running.address
    }
}

/// The device, with every transfer counted.
struct Counted<'a> {
    client: Client,
    victim: &'a mut Victim,
}

impl HostDevice for Counted<'_> {
    fn submit(&mut self, transfer: HostTransfer) -> Result<TransferId, HostError> {
        let id = self.client.submit(transfer);
        self.victim.count();
        id
    }

    fn poll(&mut self) -> Option<HostCompletion> {
        self.client.poll()
    }

    fn cancel(&mut self, id: TransferId) {
        self.client.cancel(id);
    }

    fn claim(&mut self, interface: u8) -> Result<(), HostError> {
        self.client.claim(interface)
    }

    fn clear_halt(&mut self, endpoint: EndpointAddress) -> Result<(), HostError> {
        self.client.clear_halt(endpoint)
    }

    fn reset(&mut self) -> Result<(), HostError> {
        self.client.reset()
    }

    fn wait(&mut self, limit: Duration) {
        self.client.wait(limit);
    }

    fn now(&self) -> Duration {
        self.client.now()
    }
}

/// An update, from run time until the device was asked to leave DFU mode, or until the daemon is dead.
fn update(victim: &mut Victim, file: &[u8]) -> Result<End, Error> {
    let client = remote::open(victim.address(), RUN_TIME);
    host::detach(&mut Counted { client, victim })?;
    if !victim.alive {
        return Err(Error::Gone);
    }
    let client = remote::open(victim.address(), DFU);
    let mut device = Counted { client, victim };
    let last = (file.len() - 1) / 4096 * 4096;
    let end = host::download(&mut device, file, |device, sent| {
        // The block before this one was taken, if there is one.
        device.victim.known = match usize::try_from(sent).unwrap() {
            0 => Known::Sent,
            sent if sent == last => Known::LastSent,
            _ => Known::Begun,
        };
    })?;
    device.victim.known = Known::Staged;
    let leave = Request::Detach.setup(0, DETACH_TIMEOUT_MS, 0);
    // Gone before the answer, perhaps; then the cable has done it.
    let _ = device.control_out(leave, Vec::new(), Duration::from_secs(5));
    Ok(end)
}

/// What the virtual boot loader would boot, were the machine to start now.
fn bootable(home: &Home) -> Slot {
    let [first, second] = ["record.0", "record.1"].map(|name| fs::read(home.path("store").join(name)).ok());
    let (record, _) = newest(first.as_deref(), second.as_deref()).unwrap();
    boot::decide(&record).unwrap().booted
}

/// A BMC whose running firmware is known to the byte.
struct Lab {
    home: Home,
    random: Random,
    /// What runs.
    firmware: Vec<u8>,
    slot: Slot,
    session: u32,
    version: u16,
}

impl Lab {
    fn new(seed: u64) -> Self {
        let home = Home::with_store();
        let firmware = noise(SLOT, seed);
        fs::write(home.path("store/slot-a.img"), &firmware).unwrap();
        Self { home, random: Random(seed), firmware, slot: Slot::A, session: 0, version: 100 }
    }

    fn package(&mut self) -> Package {
        self.version = (self.version + 1) % 10_000;
        // Versions are BCD.
        let digits = format!("{:04}", self.version);
        Package::new(u16::from_str_radix(&digits, 16).unwrap(), IMAGE_LENGTH)
    }

    fn configure(&self, immediate: bool) {
        let activation = if immediate { "\n[activation]\nwhen = \"immediate\"\n" } else { "" };
        // Many days' worth of sessions in a few minutes.
        let limits = "\n[limits]\nslot_rewrites_per_day = 0\nsessions_per_day = 0\n";
        self.home.configure(&(good_config() + activation + limits));
    }

    /// How many transfers an update has.
    fn transfers(&mut self) -> u64 {
        let package = self.package();
        let mut victim = self.victim(None);
        assert_eq!(update(&mut victim, &package.bytes()), Ok(End::Idle));
        let transfers = victim.transfers;
        drop(victim);
        self.take_over(&package);
        transfers
    }

    fn victim(&self, doom: Option<Doom>) -> Victim {
        Victim { running: self.home.start(), doom, alive: true, transfers: 0, known: Known::Nothing }
    }

    /// The package runs from now on.
    fn take_over(&mut self, package: &Package) {
        self.firmware = package.slot(SLOT);
        self.slot = self.slot.other();
        self.session += 1;
    }

    /// Kills the daemon in an update and looks at what is left. Returns what became of the update: `Idle` if it never began.
    fn round(&mut self, transfers: u64, context: &str) -> SessionState {
        let random = &mut self.random;
        // Half of the moments anywhere; half around the end, where the slot is read back, chosen and started.
        let transfer = match random.next() % 2 {
            0 => random.next() % transfers,
            _ => transfers.saturating_sub(1 + random.next() % 6),
        };
        let delay = Duration::from_micros(random.next() % 4000);
        let immediate = random.next().is_multiple_of(2);
        let context =
            format!("{context}, transfer {transfer} of {transfers}, then {delay:?}, immediate {immediate}");
        self.configure(immediate);
        let package = self.package();
        let mut victim = self.victim(Some(Doom { transfer, delay }));
        let before = settled(victim.address(), RUN_TIME);
        let _ = update(&mut victim, &package.bytes());
        // The update took fewer transfers than it sometimes does: now, then.
        victim.kill();
        let known = victim.known;
        drop(victim);
        let context = format!("{context}; the host knew: {known:?}");

        // The loader finds a slot, and in it the old firmware or the new one, whole.
        let booted = bootable(&self.home);
        let new = booted != self.slot;
        let expected = if new { package.slot(SLOT) } else { self.firmware.clone() };
        assert!(
            self.home.slot(booted) == expected,
            "{context}: slot {} is neither old nor new",
            booted.name()
        );
        assert!(self.home.slot(self.slot) == self.firmware, "{context}: the running slot was written to");

        // The pages tell what happened.
        let running = self.home.start();
        let page = settled(running.address, RUN_TIME);
        assert_eq!(page.running, booted, "{context}");
        assert_eq!(page.slots[usize::from(booted.number())], SlotState::Good, "{context}");
        let outcome = (page.state, page.result().unwrap());
        let unchanged = (before.state, before.result().unwrap());
        let begun = page.session == self.session + 1;
        assert!(begun || page.session == self.session, "{context}");
        match known {
            Known::Nothing => assert!(!begun && !new, "{context}"),
            Known::Sent => assert!(!new, "{context}"),
            Known::Begun => assert!(begun && !new, "{context}"),
            Known::LastSent => assert!(begun, "{context}"),
            Known::Staged => assert!(begun && new, "{context}"),
        }
        let truth = match (begun, new) {
            (_, true) => (SessionState::Done, ResultCode::Ok),
            (true, false) => (SessionState::Interrupted, ResultCode::Interrupted),
            (false, false) => unchanged,
        };
        assert_eq!(outcome, truth, "{context}");
        drop(running);

        if new {
            self.take_over(&package);
        } else if begun {
            self.session += 1;
        } else {
            return SessionState::Idle;
        }
        truth.0
    }

    /// A whole update, on what the round before has left.
    fn repeat(&mut self, context: &str) {
        self.configure(false);
        let package = self.package();
        let mut victim = self.victim(None);
        assert_eq!(update(&mut victim, &package.bytes()), Ok(End::Idle), "{context}");
        let page = settled(victim.address(), RUN_TIME);
        assert_eq!((page.state, page.session), (SessionState::Staged, self.session + 1), "{context}");
        assert!(self.home.slot(self.slot.other()) == package.slot(SLOT), "{context}");
        drop(victim);
        self.take_over(&package);
        let running = self.home.start();
        let page = settled(running.address, RUN_TIME);
        assert_eq!((page.state, page.running), (SessionState::Done, self.slot), "{context}");
    }
}

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} = {text:?} is no number")))
}

#[test]
fn the_daemon_may_die_at_any_moment() {
    let rounds = number("INBAND_KILL_ROUNDS").unwrap_or(50);
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
    let seed = number("INBAND_KILL_SEED").unwrap_or(clock);
    println!("INBAND_KILL_SEED={seed}, {rounds} rounds");
    let mut lab = Lab::new(seed);
    let transfers = lab.transfers();
    let (mut untouched, mut interrupted, mut done) = (0, 0, 0);
    for round in 0..rounds {
        let context = format!("INBAND_KILL_SEED={seed}, round {round}");
        match lab.round(transfers, &context) {
            SessionState::Done => done += 1,
            SessionState::Interrupted => interrupted += 1,
            _ => untouched += 1,
        }
        if round % 5 == 4 || round + 1 == rounds {
            lab.repeat(&context);
        }
    }
    println!("before the session: {untouched}; in it: {interrupted}; behind it: {done}");
}
