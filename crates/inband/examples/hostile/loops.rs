//! What has to work many times: the mode switch, and the cable pulled at any moment of an update. The races of FunctionFS and
//! of the gadget stack around it are for these to find (CVE-2022-49755, CVE-2022-48822, CVE-2024-36894).

use std::{
    fs,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use inband_dfu::wire::{State, Status};

use crate::{
    own::Random,
    target::{Outcome, Target, detach, ensure},
    wire::{Mode, Opened},
};

/// Where the gadgets are.
const GADGETS: &str = "/sys/kernel/config/usb_gadget";
/// The cable is in again after this long at the latest.
const AWAY: Duration = Duration::from_millis(300);

/// From run time to DFU mode and back.
pub(crate) fn detach_attach(target: &mut Target, rounds: u64) -> Outcome {
    let mut slowest = Duration::ZERO;
    for round in 0..rounds {
        let result = || -> Outcome {
            target.run_time()?;
            let opened = target.take()?;
            let start = Instant::now();
            detach(opened)?;
            let opened = Opened::in_mode(Mode::Dfu)?;
            slowest = slowest.max(start.elapsed());
            opened.expect(State::DfuIdle, Status::Ok)?;
            target.put(opened);
            Ok(())
        }();
        result.map_err(|why| format!("round {round}: {why}"))?;
    }
    println!(
        "from DETACH to the opened DFU-mode device: {} ms at most in {rounds} rounds",
        slowest.as_millis()
    );
    target.works()?;
    target.update()
}

/// The cable between a controller and the host's port.
#[derive(Clone)]
struct Cable {
    udc: String,
    port: PathBuf,
}

/// What pulls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pull {
    /// The BMC's controller lets go of its pull-up and is stopped. "connect" is the way back on other controllers, but dummy_hcd then
    /// keeps its callbacks off until a gadget is bound (docs/kernels.md): so it is bound anew.
    SoftConnect,
    /// The administrator unbinds the gadget, and binds it again.
    Unbind,
    /// The host switches the port's power off, and on again.
    Port,
}

impl Cable {
    fn new(target: &mut Target, udc: String) -> Outcome<Self> {
        Ok(Self { udc, port: target.opened()?.port()? })
    }

    /// The UDC file of the gadget that has the controller.
    fn bound(&self) -> Option<PathBuf> {
        let gadgets = fs::read_dir(GADGETS).ok()?.flatten();
        let mut files = gadgets.map(|gadget| gadget.path().join("UDC"));
        files.find(|file| fs::read_to_string(file).is_ok_and(|udc| udc.trim() == self.udc))
    }

    /// Pulls it and puts it in again. What the daemon does at the same time may be the same: then there is nothing to
    /// pull, or somebody else has put it in.
    fn pull(&self, how: Pull, away: Duration) {
        match how {
            Pull::SoftConnect => {
                let _ = fs::write(format!("/sys/class/udc/{}/soft_connect", self.udc), "disconnect");
                thread::sleep(away);
                self.rebind(Duration::ZERO);
            }
            Pull::Unbind => self.rebind(away),
            Pull::Port => {
                let _ = fs::write(self.port.join("disable"), "1");
                thread::sleep(away);
                let _ = fs::write(self.port.join("disable"), "0");
            }
        }
    }

    fn rebind(&self, away: Duration) {
        let Some(file) = self.bound() else { return };
        let _ = fs::write(&file, "\n");
        thread::sleep(away);
        if self.bound().is_none() {
            let _ = fs::write(&file, &self.udc);
        }
    }
}

/// An update, and the cable pulled at some moment of it; then the next session works.
pub(crate) fn unplug(target: &mut Target, rounds: u64, seed: u64, udc: String) -> Outcome {
    let cable = Cable::new(target, udc)?;
    let package = target.package.clone();
    // How long the blocks take, and a whole update with both mode switches: on each machine something else.
    let opened = target.idle()?;
    let start = Instant::now();
    opened.download(0, &package)?;
    let download = start.elapsed();
    target.run_time()?;
    let start = Instant::now();
    target.update()?;
    let update = start.elapsed();
    println!("{} ms for the blocks, {} ms for an update", download.as_millis(), update.as_millis());
    let mut random = Random::new(seed);
    let mut failed = 0;
    // Two in five updates are cut off; of ten by chance none may be.
    let enough = 1 + rounds / 10;
    let mut pulled = 0;
    while pulled < rounds || (failed < enough && pulled < 3 * rounds) {
        let round = pulled;
        pulled += 1;
        let how = [Pull::SoftConnect, Pull::Unbind, Pull::Port][(round % 3) as usize];
        let within = if random.below(2) == 0 { download } else { update };
        let after = Duration::from_micros(random.below(within.as_micros() as u64) as u64);
        let away = Duration::from_micros(random.below(AWAY.as_micros() as u64) as u64);
        // Some begin in run time, some where the last one has left the device.
        if random.below(4) == 0 {
            target.run_time().map_err(|why| format!("before round {round}: {why}"))?;
        }
        let hand = thread::spawn({
            let cable = cable.clone();
            move || {
                thread::sleep(after);
                cable.pull(how, away);
            }
        });
        failed += u64::from(target.update().is_err());
        ensure(hand.join().is_ok(), || "nobody has pulled the cable".into())?;
        target.close();
        let round = format!("{how:?} after {after:?} for {away:?} in round {round}");
        target.works().map_err(|why| format!("{round}: {why}"))?;
    }
    println!("{failed} of {pulled} updates were cut off");
    ensure(failed >= enough, || "hardly an update was cut off".into())?;
    target.update()
}
