//! What travels: request numbers, states, status codes and the two structures of DFU 1.1.

use core::fmt;

use inband_usb::Setup;

/// bInterfaceClass: application specific (DFU 1.1, 4.1.2).
pub const INTERFACE_CLASS: u8 = 0xfe;
/// bInterfaceSubClass: device firmware upgrade.
pub const INTERFACE_SUBCLASS: u8 = 0x01;
/// bInterfaceProtocol of the run-time interface.
pub const PROTOCOL_RUN_TIME: u8 = 0x01;
/// bInterfaceProtocol of the DFU-mode interface.
pub const PROTOCOL_DFU_MODE: u8 = 0x02;
/// bDescriptorType of the functional descriptor.
pub const FUNCTIONAL_DESCRIPTOR: u8 = 0x21;

/// wTransferSize of our device, and the most one control transfer moves on Linux and Windows hosts whatever a device says.
pub const TRANSFER_SIZE: u16 = 4096;
/// wDetachTimeOut of our device, in milliseconds.
pub const DETACH_TIMEOUT_MS: u16 = 1000;

/// bRequest (DFU 1.1, table 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Request {
    /// Run-time to DFU mode; wValue is a time in milliseconds.
    Detach = 0,
    /// A block to the device; wValue is the block number. Without data: the end of the download.
    Dnload = 1,
    /// A block from the device; wValue is the block number.
    Upload = 2,
    /// The six bytes of [`StatusReply`]. May change the state.
    GetStatus = 3,
    /// Out of dfuERROR.
    ClrStatus = 4,
    /// One byte: bState. Never changes the state.
    GetState = 5,
    /// Back to dfuIDLE.
    Abort = 6,
}

impl Request {
    /// All seven, by number.
    pub const ALL: [Self; 7] = [
        Self::Detach,
        Self::Dnload,
        Self::Upload,
        Self::GetStatus,
        Self::ClrStatus,
        Self::GetState,
        Self::Abort,
    ];

    /// The request a setup packet carries; `None` for an unknown bRequest and for a bmRequestType other than the one DFU 1.1
    /// prints for it: 21h to the device, A1h from it.
    #[must_use]
    pub fn decode(setup: &Setup) -> Option<Self> {
        let request = *Self::ALL.get(usize::from(setup.request))?;
        (setup.request_type == request.request_type()).then_some(request)
    }

    /// The setup packet of this request to `interface`.
    #[must_use]
    pub const fn setup(self, interface: u8, value: u16, length: u16) -> Setup {
        Setup {
            request_type: self.request_type(),
            request: self as u8,
            value,
            index: interface as u16,
            length,
        }
    }

    /// bmRequestType: class, interface, and the direction.
    #[must_use]
    pub const fn request_type(self) -> u8 {
        match self {
            Self::Detach | Self::Dnload | Self::ClrStatus | Self::Abort => 0x21,
            Self::Upload | Self::GetStatus | Self::GetState => 0xa1,
        }
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Detach => "DFU_DETACH",
            Self::Dnload => "DFU_DNLOAD",
            Self::Upload => "DFU_UPLOAD",
            Self::GetStatus => "DFU_GETSTATUS",
            Self::ClrStatus => "DFU_CLRSTATUS",
            Self::GetState => "DFU_GETSTATE",
            Self::Abort => "DFU_ABORT",
        })
    }
}

/// bState (DFU 1.1, 6.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum State {
    /// Run-time: the normal firmware runs.
    AppIdle = 0,
    /// Run-time: DETACH was received.
    AppDetach = 1,
    /// DFU mode, waiting for requests.
    DfuIdle = 2,
    /// A block was received; the host has to ask for the status.
    DfuDnloadSync = 3,
    /// The block is being worked on.
    DfuDnbusy = 4,
    /// In a download, waiting for the next block.
    DfuDnloadIdle = 5,
    /// All blocks were received; the host has to ask for the status.
    DfuManifestSync = 6,
    /// The firmware is being put to work.
    DfuManifest = 7,
    /// Done; waiting for a bus reset. Never with bitManifestationTolerant.
    DfuManifestWaitReset = 8,
    /// In an upload, waiting for the next request.
    DfuUploadIdle = 9,
    /// Something failed; waiting for CLRSTATUS.
    DfuError = 10,
}

impl State {
    /// All eleven, by number.
    pub const ALL: [Self; 11] = [
        Self::AppIdle,
        Self::AppDetach,
        Self::DfuIdle,
        Self::DfuDnloadSync,
        Self::DfuDnbusy,
        Self::DfuDnloadIdle,
        Self::DfuManifestSync,
        Self::DfuManifest,
        Self::DfuManifestWaitReset,
        Self::DfuUploadIdle,
        Self::DfuError,
    ];

    /// The state with this bState; `None` for 11 to 255.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AppIdle => "appIDLE",
            Self::AppDetach => "appDETACH",
            Self::DfuIdle => "dfuIDLE",
            Self::DfuDnloadSync => "dfuDNLOAD-SYNC",
            Self::DfuDnbusy => "dfuDNBUSY",
            Self::DfuDnloadIdle => "dfuDNLOAD-IDLE",
            Self::DfuManifestSync => "dfuMANIFEST-SYNC",
            Self::DfuManifest => "dfuMANIFEST",
            Self::DfuManifestWaitReset => "dfuMANIFEST-WAIT-RESET",
            Self::DfuUploadIdle => "dfuUPLOAD-IDLE",
            Self::DfuError => "dfuERROR",
        })
    }
}

/// bStatus (DFU 1.1, 6.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Status {
    /// No error.
    Ok = 0x00,
    /// errTARGET.
    ErrTarget = 0x01,
    /// errFILE.
    ErrFile = 0x02,
    /// errWRITE.
    ErrWrite = 0x03,
    /// errERASE.
    ErrErase = 0x04,
    /// errCHECK_ERASED.
    ErrCheckErased = 0x05,
    /// errPROG.
    ErrProg = 0x06,
    /// errVERIFY.
    ErrVerify = 0x07,
    /// errADDRESS.
    ErrAddress = 0x08,
    /// errNOTDONE.
    ErrNotDone = 0x09,
    /// errFIRMWARE.
    ErrFirmware = 0x0a,
    /// errVENDOR.
    ErrVendor = 0x0b,
    /// errUSBR.
    ErrUsbReset = 0x0c,
    /// errPOR.
    ErrPowerOnReset = 0x0d,
    /// errUNKNOWN.
    ErrUnknown = 0x0e,
    /// errSTALLEDPKT.
    ErrStalledPacket = 0x0f,
}

impl Status {
    /// All sixteen, by number.
    pub const ALL: [Self; 16] = [
        Self::Ok,
        Self::ErrTarget,
        Self::ErrFile,
        Self::ErrWrite,
        Self::ErrErase,
        Self::ErrCheckErased,
        Self::ErrProg,
        Self::ErrVerify,
        Self::ErrAddress,
        Self::ErrNotDone,
        Self::ErrFirmware,
        Self::ErrVendor,
        Self::ErrUsbReset,
        Self::ErrPowerOnReset,
        Self::ErrUnknown,
        Self::ErrStalledPacket,
    ];

    /// The status with this bStatus; `None` for 16 to 255.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// What it means, as the end of a sentence.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Ok => "no error",
            Self::ErrTarget => "the file is not for this device",
            Self::ErrFile => "the file failed the vendor's checks",
            Self::ErrWrite => "memory could not be written",
            Self::ErrErase => "memory could not be erased",
            Self::ErrCheckErased => "memory was not blank after erasing",
            Self::ErrProg => "programming failed",
            Self::ErrVerify => "the written memory is not right",
            Self::ErrAddress => "an address or block number is out of range",
            Self::ErrNotDone => "the data ended too early",
            Self::ErrFirmware => "the firmware is damaged and cannot run",
            Self::ErrVendor => "a vendor-specific error",
            Self::ErrUsbReset => "an unexpected bus reset",
            Self::ErrPowerOnReset => "an unexpected power-on reset",
            Self::ErrUnknown => "an unknown error",
            Self::ErrStalledPacket => "a request was not expected",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "OK",
            Self::ErrTarget => "errTARGET",
            Self::ErrFile => "errFILE",
            Self::ErrWrite => "errWRITE",
            Self::ErrErase => "errERASE",
            Self::ErrCheckErased => "errCHECK_ERASED",
            Self::ErrProg => "errPROG",
            Self::ErrVerify => "errVERIFY",
            Self::ErrAddress => "errADDRESS",
            Self::ErrNotDone => "errNOTDONE",
            Self::ErrFirmware => "errFIRMWARE",
            Self::ErrVendor => "errVENDOR",
            Self::ErrUsbReset => "errUSBR",
            Self::ErrPowerOnReset => "errPOR",
            Self::ErrUnknown => "errUNKNOWN",
            Self::ErrStalledPacket => "errSTALLEDPKT",
        })
    }
}

/// The answer to GETSTATUS (DFU 1.1, 6.1.2), six bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusReply {
    /// bStatus.
    pub status: Status,
    /// bwPollTimeout: the least time before the next GETSTATUS, in milliseconds, 24 bits.
    pub poll_timeout_ms: u32,
    /// bState: the state entered right after this reply.
    pub state: State,
    /// iString: a string descriptor that describes the status, or 0.
    pub string: u8,
}

impl StatusReply {
    /// Bytes on the wire.
    pub const LEN: usize = 6;

    /// The bytes on the wire. A poll time above 24 bits becomes the largest there is.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let poll = self.poll_timeout_ms.min(0x00ff_ffff).to_le_bytes();
        [self.status as u8, poll[0], poll[1], poll[2], self.state as u8, self.string]
    }

    /// Reads a reply.
    ///
    /// # Errors
    /// Another length than six bytes, and numbers DFU 1.1 does not know.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let &[status, poll0, poll1, poll2, state, string] = bytes else {
            return Err(ParseError::Length(bytes.len()));
        };
        Ok(Self {
            status: Status::from_number(status).ok_or(ParseError::Status(status))?,
            poll_timeout_ms: u32::from_le_bytes([poll0, poll1, poll2, 0]),
            state: State::from_number(state).ok_or(ParseError::State(state))?,
            string,
        })
    }
}

/// Bytes from the other side that are not what DFU 1.1 says they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// A structure of another length than the specification gives it.
    #[error("{0} bytes where the specification has another length")]
    Length(usize),
    /// A bDescriptorType that is not 21h.
    #[error("descriptor type {0:#04x} is not a DFU functional descriptor")]
    DescriptorType(u8),
    /// A bStatus above 15.
    #[error("unknown bStatus {0}")]
    Status(u8),
    /// A bState above 10.
    #[error("unknown bState {0}")]
    State(u8),
}

/// bmAttributes of the functional descriptor (DFU 1.1, 4.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes(pub u8);

impl Attributes {
    /// Our device: download, manifestation tolerant, detaches by itself; no upload.
    pub const OURS: Self = Self(0x0d);

    /// bitCanDnload.
    #[must_use]
    pub const fn can_download(self) -> bool {
        self.0 & 0x01 != 0
    }

    /// bitCanUpload.
    #[must_use]
    pub const fn can_upload(self) -> bool {
        self.0 & 0x02 != 0
    }

    /// bitManifestationTolerant.
    #[must_use]
    pub const fn manifestation_tolerant(self) -> bool {
        self.0 & 0x04 != 0
    }

    /// bitWillDetach.
    #[must_use]
    pub const fn will_detach(self) -> bool {
        self.0 & 0x08 != 0
    }
}

/// The DFU functional descriptor (DFU 1.1, 4.1.3), nine bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionalDescriptor {
    /// bmAttributes.
    pub attributes: Attributes,
    /// wDetachTimeOut in milliseconds.
    pub detach_timeout_ms: u16,
    /// wTransferSize in bytes.
    pub transfer_size: u16,
    /// bcdDFUVersion: 0110h, or 0100h for the seven-byte form of DFU 1.0, which has no such field.
    pub dfu_version: u16,
}

impl FunctionalDescriptor {
    /// Bytes on the wire.
    pub const LEN: usize = 9;
    /// Bytes of the DFU 1.0 form.
    const LEN_1_0: usize = 7;

    /// What our device says, in both descriptor sets.
    pub const OURS: Self = Self {
        attributes: Attributes::OURS,
        detach_timeout_ms: DETACH_TIMEOUT_MS,
        transfer_size: TRANSFER_SIZE,
        dfu_version: 0x0110,
    };

    /// The bytes on the wire.
    #[must_use]
    pub const fn to_bytes(&self) -> [u8; Self::LEN] {
        let detach = self.detach_timeout_ms.to_le_bytes();
        let size = self.transfer_size.to_le_bytes();
        let version = self.dfu_version.to_le_bytes();
        [
            Self::LEN as u8,
            FUNCTIONAL_DESCRIPTOR,
            self.attributes.0,
            detach[0],
            detach[1],
            size[0],
            size[1],
            version[0],
            version[1],
        ]
    }

    /// Reads a descriptor of nine bytes, or of seven (DFU 1.0).
    ///
    /// # Errors
    /// Any other length, a bLength that is not the length, another descriptor type.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let dfu_version = match bytes.len() {
            Self::LEN => u16::from_le_bytes([bytes[7], bytes[8]]),
            Self::LEN_1_0 => 0x0100,
            other => return Err(ParseError::Length(other)),
        };
        if usize::from(bytes[0]) != bytes.len() {
            return Err(ParseError::Length(usize::from(bytes[0])));
        }
        if bytes[1] != FUNCTIONAL_DESCRIPTOR {
            return Err(ParseError::DescriptorType(bytes[1]));
        }
        Ok(Self {
            attributes: Attributes(bytes[2]),
            detach_timeout_ms: u16::from_le_bytes([bytes[3], bytes[4]]),
            transfer_size: u16::from_le_bytes([bytes[5], bytes[6]]),
            dfu_version,
        })
    }
}
