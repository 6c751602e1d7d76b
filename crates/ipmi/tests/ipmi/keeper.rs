//! A doorkeeper that does as it is told, and remembers.

use std::time::Duration;

use inband_ipmi::{
    Doorkeeper, Handler, Origin,
    command::{Capabilities, Command, Door, Started, Status, Wishes},
    wire::{COMMAND, Code, NETFN, Reply, Request},
};

#[derive(Debug, Default)]
pub(crate) struct Keeper {
    /// What the next commands that do something are refused with.
    pub(crate) refuse: Option<Code>,
    pub(crate) at_work: bool,
    pub(crate) open: Option<(Door, Wishes)>,
    pub(crate) calls: Vec<String>,
    pub(crate) status: Status,
    pub(crate) session: u32,
}

impl Keeper {
    fn call(&mut self, name: String) -> Result<(), Code> {
        self.calls.push(name);
        self.refuse.map_or(Ok(()), Err)
    }
}

impl Doorkeeper for Keeper {
    fn capabilities(&self) -> Capabilities {
        Capabilities { doors: 7, holds_s: 900, ..Capabilities::default() }
    }

    fn status(&self, _: Duration) -> Status {
        self.status
    }

    fn session(&self) -> u32 {
        self.session
    }

    fn item(&self, item: u8, _: Duration) -> Option<Vec<u8>> {
        (item == 0).then(|| b"board".to_vec())
    }

    fn open(&mut self, _: Duration, door: Door, wishes: &Wishes) -> Result<(), Code> {
        self.call(format!("open {door:?}"))?;
        self.open = Some((door, *wishes));
        Ok(())
    }

    fn is_at_work(&self) -> bool {
        self.at_work
    }

    fn shut(&mut self, _: Duration, commit: bool) -> Result<(), Code> {
        self.open = None;
        self.call(format!("shut {commit}"))
    }

    fn run_out(&mut self, _: Duration) {
        self.open = None;
        self.calls.push("run out".into());
    }

    fn abort(&mut self, _: Duration) -> Result<(), Code> {
        self.call("abort".into())
    }

    fn activate(&mut self, _: Duration) -> Result<(), Code> {
        self.call("activate".into())
    }

    fn confirm(&mut self, _: Duration) -> Result<(), Code> {
        self.call("confirm".into())
    }
}

/// A BMC with a clock that stands unless it is moved.
pub(crate) struct Bmc {
    pub(crate) handler: Handler,
    pub(crate) keeper: Keeper,
    pub(crate) now: Duration,
    random: u32,
}

impl Bmc {
    pub(crate) fn new() -> Self {
        Self {
            handler: Handler::default(),
            keeper: Keeper::default(),
            now: Duration::ZERO,
            random: 0x1000_0000,
        }
    }

    pub(crate) fn raw(&mut self, origin: Origin, data: &[u8]) -> Reply {
        let request = Request { netfn: NETFN, lun: 0, command: COMMAND, data };
        self.random += 1;
        self.handler.handle(self.now, origin, &request, self.random, &mut self.keeper)
    }

    pub(crate) fn run(&mut self, command: Command) -> Reply {
        self.raw(Origin::System, &command.encode())
    }

    /// Starts the DFU door, and returns the nonce.
    pub(crate) fn start(&mut self, tag: u32) -> Result<u32, Code> {
        let reply = self.run(Command::Start { tag, door: Door::Dfu, wishes: Wishes::default() });
        match reply.code {
            Code::OK => Ok(Started::decode(&reply.data, tag).unwrap().nonce),
            code => Err(code),
        }
    }

    pub(crate) fn status(&mut self) -> Status {
        let reply = self.run(Command::Status);
        assert_eq!(reply.code, Code::OK);
        Status::decode(&reply.data).unwrap()
    }

    pub(crate) fn advance(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.handler.handle_timeout(self.now, &mut self.keeper);
    }
}
