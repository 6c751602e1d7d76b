//! What is known about a BMC, as JSON has it. Texts are as the device gave them: whoever prints them escapes them.

use inband_dfu::host::InterfaceMode;
use inband_ipmi::command::{FLAG_STARTED, Status};
use inband_session::{
    Door, ResultCode, SessionState,
    status::{FirmwarePage, StatusPage},
};
use inband_store::Slot;
use serde::{Serialize, Serializer};

use crate::{
    bmc::Bmc,
    cli::values::Nonce,
    error::DeviceError,
    ipmi::Report,
    text::{bcd, hex},
    usb::Place,
};

/// A BMC. Fields are only ever added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// Where it is.
    pub path: String,
    /// iSerialNumber.
    pub serial: Option<String>,
    /// iManufacturer.
    pub manufacturer: Option<String>,
    /// iProduct.
    pub product: Option<String>,
    /// idVendor, four hexadecimal digits; like all that only USB tells `None` where that shows no BMC.
    pub vendor_id: Option<String>,
    /// idProduct, four hexadecimal digits.
    pub product_id: Option<String>,
    /// bcdDevice.
    pub bcd_device: Option<String>,
    /// The board.
    pub machine: String,
    /// `run-time` or `dfu`.
    pub mode: Option<&'static str>,
    /// The session's state.
    #[serde(serialize_with = "state_by_name")]
    pub state: SessionState,
    /// The result of the last session, by name; `unknown` for a number this version does not know.
    pub result: &'static str,
    /// The same by number.
    pub result_code: u16,
    /// The door the session came through.
    pub door: Option<&'static str>,
    /// How the doors stand.
    pub doors: Doors,
    /// Session id; 0 is none.
    pub session: u32,
    /// Bytes received in this session.
    pub received: u32,
    /// Bytes announced; 0 while unknown.
    pub announced: u32,
    /// First 16 bytes of the SHA-256 of the head of the session's package.
    pub package: String,
    /// The running slot.
    pub running: &'static str,
    /// The slot that boots next.
    pub boots_next: &'static str,
    /// Whether the running slot is not confirmed yet.
    pub on_trial: bool,
    /// Boots left to the firmware on trial, or staged.
    pub boots_left: u8,
    /// Boots it was given; 0 where nothing is on trial or staged, or the BMC does not tell.
    pub boots_given: u8,
    /// Security version of the running firmware.
    pub security_version: u32,
    /// Lowest security version that is taken.
    pub security_floor: u32,
    /// Whether the host is locked out because of refused packages.
    pub locked_out: bool,
    /// Minutes, rounded up, until the BMC takes a session again; 0 if it takes one now.
    pub wait_minutes: u16,
    /// Slots a and b.
    pub slots: [SlotFacts; 2],
    /// Who told: `usb`, `ipmi`.
    pub told_by: Vec<&'static str>,
    /// How much of the package came in, or of the slot is read back; what only IPMI tells is `None` without it, and where it is not known.
    pub percent: Option<u8>,
    /// The start in force.
    pub start: Option<StartFacts>,
}

/// A start in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StartFacts {
    /// Its nonce, eight hexadecimal digits.
    pub nonce: String,
    /// Seconds that it still holds.
    pub holds_s: u16,
}

/// How the doors stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Doors {
    /// Control transfers.
    pub dfu: &'static str,
    /// Bulk transfers.
    pub bulk: &'static str,
    /// The USB disk.
    pub volume: &'static str,
    /// IPMI.
    pub ipmi: &'static str,
}

/// A slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SlotFacts {
    /// `a` or `b`.
    pub slot: &'static str,
    /// `empty`, `invalid`, `staged`, `trial` or `good`.
    pub state: &'static str,
    /// The firmware's version.
    pub version: String,
    /// Its security version.
    pub security_version: u32,
    /// What bcdDevice shows for it.
    pub bcd_device: String,
}

impl Facts {
    /// Asks a BMC for all of it.
    ///
    /// # Errors
    /// If it does not answer, or not as the pages are defined.
    pub fn read(bmc: &mut Bmc) -> Result<Self, DeviceError> {
        let status = bmc.status()?;
        let firmware = bmc.firmware()?;
        Ok(Self::new(bmc, &status, &firmware))
    }

    /// Puts together what was read by USB.
    #[must_use]
    pub fn new(bmc: &Bmc, status: &StatusPage, firmware: &[FirmwarePage; 2]) -> Self {
        Self {
            serial: bmc.strings.serial.clone(),
            manufacturer: bmc.strings.manufacturer.clone(),
            product: bmc.strings.product.clone(),
            vendor_id: Some(format!("{:04x}", bmc.vendor_id)),
            product_id: Some(format!("{:04x}", bmc.product_id)),
            bcd_device: Some(bcd(bmc.device_version)),
            mode: Some(mode_name(bmc.mode())),
            told_by: vec!["usb"],
            ..Self::of_pages(&bmc.place, &bmc.machine, status, firmware)
        }
    }

    /// Puts together what was read by IPMI.
    #[must_use]
    pub fn by_ipmi(place: &Place, report: &Report) -> Self {
        Self::of_pages(place, &report.machine, &report.page, &report.firmware).with(&report.status)
    }

    /// What the pages tell, whoever brought them.
    fn of_pages(place: &Place, machine: &str, status: &StatusPage, firmware: &[FirmwarePage; 2]) -> Self {
        let door = |door: Door| status.door_state(door).name();
        Self {
            path: place.to_string(),
            serial: None,
            manufacturer: None,
            product: None,
            vendor_id: None,
            product_id: None,
            bcd_device: None,
            machine: machine.to_owned(),
            mode: None,
            state: status.state,
            result: result_name(status.result()),
            result_code: status.result_code,
            door: status.door.map(Door::name),
            doors: Doors {
                dfu: door(Door::Dfu),
                bulk: door(Door::Bulk),
                volume: door(Door::Volume),
                ipmi: door(Door::Ipmi),
            },
            session: status.session,
            received: status.received,
            announced: status.announced,
            package: hex(&status.head),
            running: status.running.name(),
            boots_next: status.boots_next.name(),
            on_trial: status.on_trial,
            boots_left: status.boots_left,
            boots_given: status.boots_given,
            security_version: status.security_version,
            security_floor: status.floor,
            locked_out: status.locked_out,
            wait_minutes: status.wait_minutes,
            slots: [slot_facts(&firmware[0]), slot_facts(&firmware[1])],
            told_by: Vec::new(),
            percent: None,
            start: None,
        }
    }

    /// The same with what only IPMI tells.
    #[must_use]
    pub fn with(mut self, told: &Status) -> Self {
        self.told_by.push("ipmi");
        self.percent = Some(told.percent).filter(|percent| *percent <= 100);
        self.start = (told.flags & FLAG_STARTED != 0)
            .then(|| StartFacts { nonce: Nonce(told.nonce).to_string(), holds_s: told.holds_s });
        self
    }

    /// The version in a slot; empty if there is none.
    #[must_use]
    pub fn version(&self, slot: &str) -> &str {
        self.slots.iter().find(|facts| facts.slot == slot).map_or("", |facts| facts.version.as_str())
    }
}

fn state_by_name<S: Serializer>(state: &SessionState, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(state.name())
}

fn slot_facts(page: &FirmwarePage) -> SlotFacts {
    SlotFacts {
        slot: page.slot.name(),
        state: page.state.name(),
        version: page.version.as_str().to_owned(),
        security_version: page.security_version,
        bcd_device: bcd(page.bcd_device),
    }
}

/// The version in a slot; empty if there is none.
#[must_use]
pub fn version_in(firmware: &[FirmwarePage; 2], slot: Slot) -> String {
    firmware[usize::from(slot.number())].version.as_str().to_owned()
}

/// The name of a mode.
#[must_use]
pub const fn mode_name(mode: InterfaceMode) -> &'static str {
    match mode {
        InterfaceMode::Runtime => "run-time",
        InterfaceMode::Dfu => "dfu",
    }
}

/// The name of a result; `unknown` for a number this version does not know.
#[must_use]
pub const fn result_name(result: Option<ResultCode>) -> &'static str {
    match result {
        Some(result) => result.name(),
        None => "unknown",
    }
}
