//! One opened BMC: what it is, and its answers to the read-only vendor request (docs/spec/session.md, 5).

use std::time::Duration;

use inband_bulk::interface::{self, BulkInterface};
use inband_dfu::host::{DfuInterface, InterfaceMode, find_dfu_interface};
use inband_dfu::wire::FunctionalDescriptor;
use inband_session::status::{self, FirmwarePage, LogPage, MachinePage, PageError, StatusPage};
use inband_store::Slot;
use inband_usb::{HostDevice, HostError, Setup};

use crate::{
    error::{DeviceError, Error},
    usb::{Bus, CONTROL_TIMEOUT, InterfaceClass, Opened, Place, Strings},
};

/// How long a device may take to show that it is a BMC of ours. Short, because every DFU device in reach is asked.
const RECOGNITION_TIMEOUT: Duration = Duration::from_secs(1);

/// bmRequestType of the vendor request: device to host, vendor, interface.
const VENDOR_IN: u8 = 0xc1;
/// wLength of the vendor request: the most it allows. Pages may grow up to it.
const PAGE_LENGTH: u16 = 64;
/// Log records there can be: pages 16 to 31.
pub(crate) const MAX_LOG_RECORDS: u16 = 16;

/// What a device at a place turned out to be.
pub enum Recognised {
    /// One of ours.
    Bmc(Box<Bmc>),
    /// A DFU device that does not know the vendor request, or answers it with something else.
    Foreign {
        /// How it can be told, in words that are safe to show.
        reason: String,
        /// Its strings.
        strings: Strings,
    },
}

/// An opened BMC. Dropping it closes the device.
pub struct Bmc {
    /// Where it is.
    pub place: Place,
    /// idVendor.
    pub vendor_id: u16,
    /// idProduct; differs between the modes.
    pub product_id: u16,
    /// bcdDevice.
    pub device_version: u16,
    /// Its strings.
    pub strings: Strings,
    /// The interfaces of its configuration.
    pub interfaces: Vec<InterfaceClass>,
    /// The board it says it is.
    pub machine: String,
    interface: DfuInterface,
    bulk: Option<BulkInterface>,
    device: Box<dyn HostDevice>,
}

impl Bmc {
    /// Opens what is at a place, claims its DFU interface and asks whether it is a BMC.
    ///
    /// # Errors
    /// If the device cannot be opened, claimed or read.
    pub fn open(bus: &dyn Bus, place: &Place) -> Result<Recognised, DeviceError> {
        Self::recognise(place.clone(), bus.open(place)?)
    }

    /// The same for a device that is open already.
    ///
    /// # Errors
    /// If it cannot be claimed or read.
    pub fn recognise(place: Place, opened: Opened) -> Result<Recognised, DeviceError> {
        let Opened { mut device, descriptor, configuration, strings } = opened;
        // What is one of ours is so whether its kernel lets it say so or not; the machine page tells.
        let interface = match find_dfu_interface(&configuration, Some(FunctionalDescriptor::OURS)) {
            Ok(interface) => interface,
            Err(error) => return Ok(Recognised::Foreign { reason: error.to_string(), strings }),
        };
        let interfaces = configuration
            .interfaces
            .iter()
            .map(|it| InterfaceClass {
                number: it.number,
                class: it.class,
                subclass: it.subclass,
                protocol: it.protocol,
            })
            .collect();
        device.claim(interface.number)?;
        let page = match ask(&mut *device, interface.number, status::MACHINE_PAGE, RECOGNITION_TIMEOUT) {
            Ok(page) => page,
            Err(HostError::Stall | HostError::Overflow) => {
                let reason = "it does not answer the request for its machine".to_owned();
                return Ok(Recognised::Foreign { reason, strings });
            }
            Err(error) => return Err(error.into()),
        };
        let machine = match MachinePage::decode(&page) {
            Ok(page) => page.machine.as_str().to_owned(),
            Err(error) => {
                let reason = format!("it does not name its machine as a BMC does: {error}");
                return Ok(Recognised::Foreign { reason, strings });
            }
        };
        Ok(Recognised::Bmc(Box::new(Self {
            place,
            vendor_id: descriptor.vendor_id,
            product_id: descriptor.product_id,
            device_version: descriptor.device_version,
            strings,
            interfaces,
            machine,
            interface,
            bulk: interface::find(&configuration),
            device,
        })))
    }

    /// Which descriptor set it shows.
    #[must_use]
    pub const fn mode(&self) -> InterfaceMode {
        self.interface.mode
    }

    /// Its DFU interface.
    #[must_use]
    pub const fn interface(&self) -> &DfuInterface {
        &self.interface
    }

    /// Its bulk interface, as its descriptors have one. It is not claimed.
    #[must_use]
    pub const fn bulk(&self) -> Option<BulkInterface> {
        self.bulk
    }

    /// The device under it.
    pub fn device(&mut self) -> &mut dyn HostDevice {
        &mut *self.device
    }

    /// Page 0: how session, doors and slots stand.
    ///
    /// # Errors
    /// If the device does not answer, or not as the page is defined.
    pub fn status(&mut self) -> Result<StatusPage, DeviceError> {
        self.page(status::STATUS_PAGE, StatusPage::decode)
    }

    /// Pages 1 and 2: the firmware in slot a and in slot b.
    ///
    /// # Errors
    /// If the device does not answer, or not as the pages are defined.
    pub fn firmware(&mut self) -> Result<[FirmwarePage; 2], DeviceError> {
        Ok([self.slot(Slot::A)?, self.slot(Slot::B)?])
    }

    fn slot(&mut self, slot: Slot) -> Result<FirmwarePage, DeviceError> {
        self.page(FirmwarePage::number(slot), |bytes| match FirmwarePage::decode(bytes) {
            Ok(page) if page.slot != slot => Err(PageError::Field("slot")),
            other => other,
        })
    }

    /// Page 4: what it speaks by bulk (docs/spec/bulk.md, 1.1); `None` if it has no such page.
    ///
    /// # Errors
    /// If the device does not answer. What is wrong with the page is told inside.
    pub fn bulk_page(
        &mut self,
    ) -> Result<Option<Result<interface::Page, interface::PageError>>, DeviceError> {
        match ask(&mut *self.device, self.interface.number, interface::PAGE, CONTROL_TIMEOUT) {
            Ok(page) => Ok(Some(interface::Page::decode(&page))),
            Err(HostError::Stall) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Pages 16 and on: the log, newest first.
    ///
    /// # Errors
    /// If the device does not answer, or not as the pages are defined.
    pub fn log(&mut self) -> Result<Vec<LogPage>, DeviceError> {
        let count = self.status()?.log_records.min(MAX_LOG_RECORDS);
        (0..count).map(|number| self.page(status::FIRST_LOG_PAGE + number, LogPage::decode)).collect()
    }

    fn page<T>(
        &mut self,
        page: u16,
        decode: impl FnOnce(&[u8]) -> Result<T, PageError>,
    ) -> Result<T, DeviceError> {
        let bytes = ask(&mut *self.device, self.interface.number, page, CONTROL_TIMEOUT)?;
        decode(&bytes).map_err(|source| DeviceError::Page { page, source })
    }

    /// Says what failed with this device, and what can be done about it.
    pub fn failure(&self, action: &'static str, source: DeviceError) -> Error {
        Error::Device { place: self.place.clone(), action, source: Box::new(source), advice: None }
    }
}

fn ask(
    device: &mut dyn HostDevice,
    interface: u8,
    page: u16,
    timeout: Duration,
) -> Result<Vec<u8>, HostError> {
    let setup = Setup {
        request_type: VENDOR_IN,
        request: status::REQUEST,
        value: page,
        index: u16::from(interface),
        length: PAGE_LENGTH,
    };
    device.control_in(setup, timeout)
}
