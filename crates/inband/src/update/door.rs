//! Which door a package goes through: the fastest that is open (docs/spec/bulk.md, 1.1).

use std::fmt;

use inband_bulk::{interface::PageError, wire::MAX_FILE_LENGTH};
use inband_dfu::host::InterfaceMode;
use inband_session::{Door, DoorState, status::StatusPage};
use inband_usb::HostError;

use crate::{
    bmc::Bmc,
    bulk::Interfaces,
    error::{DeviceError, Error},
};

/// Which doors may be taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wish {
    /// The fastest that is open.
    #[default]
    Fastest,
    /// This one, or none.
    Dfu,
    /// This one, or none.
    Bulk,
    /// This one, or none.
    Volume,
}

/// The door that is taken.
#[derive(Clone, Copy, Debug)]
pub enum Choice {
    /// Control transfers, a block after the other.
    Dfu(Reason),
    /// Bulk transfers, of what the BMC lacks. Which interfaces it has a BMC shows in DFU mode only.
    Bulk(Option<Interfaces>),
}

/// Why it is not bulk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Nobody wants it.
    NotWanted,
    /// The BMC knows of no such door.
    Unknown,
    /// What it says of it cannot be read.
    Unreadable(PageError),
    /// It speaks these versions of the protocol, and we none of them.
    Versions(u8, u8),
    /// The door is shut.
    Shut,
    /// The descriptors have no such interface, or another one than the page names.
    NoInterface,
    /// Another program or driver has the interface.
    Held,
    /// The file is longer than bulk takes one.
    TooLong,
}

impl Choice {
    /// The door.
    #[must_use]
    pub const fn door(&self) -> Door {
        match self {
            Self::Dfu(_) => Door::Dfu,
            Self::Bulk(_) => Door::Bulk,
        }
    }

    /// Why it is this one.
    #[must_use]
    pub fn reason(&self, wish: Wish) -> String {
        match (self, wish) {
            (Self::Bulk(_), Wish::Bulk) => "as --door says".to_owned(),
            (Self::Bulk(_), _) => "the fastest that is open".to_owned(),
            (Self::Dfu(reason), _) => reason.to_string(),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotWanted => f.write_str("as --door says"),
            Self::Unknown => f.write_str("the BMC has no bulk door"),
            Self::Unreadable(error) => write!(f, "the BMC's word about its bulk door is broken: {error}"),
            Self::Versions(oldest, newest) => {
                write!(f, "the BMC speaks bulk in versions {oldest} to {newest}, which this program does not")
            }
            Self::Shut => f.write_str("the BMC's bulk door is shut"),
            Self::NoInterface => f.write_str("the BMC shows no bulk interface in DFU mode"),
            Self::Held => f.write_str("another program or driver has the BMC's bulk interface"),
            Self::TooLong => f.write_str("the file is too long for the bulk door"),
        }
    }
}

/// Chooses the door for a file of so many bytes. At run time that is what a BMC lets one expect. Nothing is claimed or changed.
///
/// # Errors
/// [`Error::NoDoor`] if the one that is wished for is not open; those of asking the BMC.
pub fn choose(bmc: &mut Bmc, status: &StatusPage, wish: Wish, length: u64) -> Result<Choice, Error> {
    let found = match wish {
        // The disk is no choice of a BMC that is spoken to.
        Wish::Dfu | Wish::Volume => Err(Reason::NotWanted),
        Wish::Fastest | Wish::Bulk => {
            look(bmc, status, length).map_err(|source| bmc.failure("find out which doors it has", source))?
        }
    };
    match found {
        Ok(interfaces) => Ok(Choice::Bulk(interfaces)),
        Err(reason) => without_bulk(bmc, wish, reason),
    }
}

/// Chooses the door for a BMC in DFU mode, and claims what the door needs.
///
/// # Errors
/// As [`choose`]; those of claiming.
pub fn take(bmc: &mut Bmc, status: &StatusPage, wish: Wish, length: u64) -> Result<Choice, Error> {
    let choice = choose(bmc, status, wish, length)?;
    match choice {
        Choice::Bulk(Some(interfaces)) => match bmc.device().claim(interfaces.bulk.number) {
            Ok(()) => Ok(choice),
            Err(HostError::Busy) => without_bulk(bmc, wish, Reason::Held),
            Err(error) => Err(bmc.failure("claim its bulk interface", error.into())),
        },
        Choice::Bulk(None) | Choice::Dfu(_) => Ok(choice),
    }
}

fn without_bulk(bmc: &Bmc, wish: Wish, reason: Reason) -> Result<Choice, Error> {
    match wish {
        Wish::Bulk => Err(Error::NoDoor {
            place: bmc.place.clone(),
            door: Door::Bulk.name(),
            reason: reason.to_string(),
        }),
        Wish::Dfu | Wish::Fastest | Wish::Volume => Ok(Choice::Dfu(reason)),
    }
}

fn look(
    bmc: &mut Bmc,
    status: &StatusPage,
    length: u64,
) -> Result<Result<Option<Interfaces>, Reason>, DeviceError> {
    if length > MAX_FILE_LENGTH {
        return Ok(Err(Reason::TooLong));
    }
    let page = match bmc.bulk_page()? {
        None => return Ok(Err(Reason::Unknown)),
        Some(Err(error)) => return Ok(Err(Reason::Unreadable(error))),
        Some(Ok(page)) => page,
    };
    if !page.is_spoken() {
        return Ok(Err(Reason::Versions(page.oldest, page.newest)));
    }
    if status.door_state(Door::Bulk) == DoorState::Shut {
        return Ok(Err(Reason::Shut));
    }
    match (bmc.mode(), bmc.bulk()) {
        (InterfaceMode::Runtime, _) => Ok(Ok(None)),
        (InterfaceMode::Dfu, Some(bulk)) if bulk.number == page.interface => {
            Ok(Ok(Some(Interfaces { dfu: *bmc.interface(), bulk })))
        }
        (InterfaceMode::Dfu, _) => Ok(Err(Reason::NoInterface)),
    }
}
