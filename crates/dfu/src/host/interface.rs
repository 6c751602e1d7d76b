//! What an opened device offers.

use inband_usb::descriptor::ParsedConfiguration;

use crate::wire::{
    FUNCTIONAL_DESCRIPTOR, FunctionalDescriptor, INTERFACE_CLASS, INTERFACE_SUBCLASS, PROTOCOL_DFU_MODE,
    PROTOCOL_RUN_TIME, ParseError, TRANSFER_SIZE,
};

/// Which of its two descriptor sets the device shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InterfaceMode {
    /// bInterfaceProtocol 1.
    Runtime,
    /// bInterfaceProtocol 2.
    Dfu,
}

/// The DFU interface of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DfuInterface {
    /// bInterfaceNumber.
    pub number: u8,
    /// Run-time or DFU mode.
    pub mode: InterfaceMode,
    /// iInterface, the string index of its name; 0 if it has none.
    pub name: u8,
    /// What it says about itself, or what stands for it.
    pub functional: FunctionalDescriptor,
}

/// Why a device cannot be updated by DFU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FindError {
    /// No interface FE/01 with protocol 1 or 2 and alternate setting 0.
    #[error("the device has no DFU interface")]
    NoInterface,
    /// An interface without functional descriptor, and nothing that stands for it.
    #[error("the DFU interface has no functional descriptor")]
    NoFunctionalDescriptor,
    /// One that cannot be read.
    #[error("the DFU functional descriptor is malformed: {0}")]
    Malformed(ParseError),
    /// bitCanDnload is clear.
    #[error("the device takes no downloads")]
    NoDownload,
    /// wTransferSize is 0.
    #[error("the device gives its transfer size as 0")]
    NoTransferSize,
}

/// Finds the DFU interface, alternate setting 0, of a configuration; in DFU mode if the device shows both.
///
/// `absent` stands for a functional descriptor that is not there: Linux before 6.12 takes none for a FunctionFS device, and
/// then only who knows the device can know what it would say (docs/spec/descriptors.md, 3).
///
/// # Errors
/// See [`FindError`].
pub fn find_dfu_interface(
    configuration: &ParsedConfiguration,
    absent: Option<FunctionalDescriptor>,
) -> Result<DfuInterface, FindError> {
    let find = |protocol, mode| {
        let wanted = (INTERFACE_CLASS, INTERFACE_SUBCLASS, protocol, 0);
        let found = configuration
            .interfaces
            .iter()
            .find(|it| (it.class, it.subclass, it.protocol, it.alternate) == wanted)?;
        Some((found, mode))
    };
    let (interface, mode) = find(PROTOCOL_DFU_MODE, InterfaceMode::Dfu)
        .or_else(|| find(PROTOCOL_RUN_TIME, InterfaceMode::Runtime))
        .ok_or(FindError::NoInterface)?;
    let functional = match interface.extra_of_type(FUNCTIONAL_DESCRIPTOR) {
        Some(bytes) => FunctionalDescriptor::parse(bytes).map_err(FindError::Malformed)?,
        None => absent.ok_or(FindError::NoFunctionalDescriptor)?,
    };
    if !functional.attributes.can_download() {
        return Err(FindError::NoDownload);
    }
    if functional.transfer_size == 0 {
        return Err(FindError::NoTransferSize);
    }
    Ok(DfuInterface { number: interface.number, mode, name: interface.name, functional })
}

impl DfuInterface {
    /// Bytes of a full block: wTransferSize, but at most the 4096 that a host's control transfers carry.
    #[must_use]
    pub fn block_size(&self) -> u16 {
        self.functional.transfer_size.min(TRANSFER_SIZE)
    }
}
