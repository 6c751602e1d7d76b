//! Devices of a USB/IP server, without a driver and without root.

use inband_usb::HostError;
use inband_virtual::usbip::{self, BusId, ClientError, wire::Status};

use super::{Bus, InterfaceClass, Opened, Place, Server, Sighting, Strings};
use crate::error::DeviceError;

/// A USB/IP server as a bus.
#[derive(Clone, Debug)]
pub struct UsbipBus {
    server: Server,
}

impl UsbipBus {
    /// The devices of this server. Nothing is connected yet.
    #[must_use]
    pub const fn new(server: Server) -> Self {
        Self { server }
    }

    fn address(&self) -> (&str, u16) {
        (self.server.host.as_str(), self.server.port)
    }
}

impl Bus for UsbipBus {
    fn list(&self) -> Result<Vec<Sighting>, HostError> {
        let devices = usbip::list(self.address()).map_err(list_error)?;
        let sightings = devices.into_iter().map(|remote| Sighting {
            place: Place::Export {
                server: self.server.clone(),
                busid: remote.device.busid.as_str().to_owned(),
            },
            vendor_id: remote.device.vendor_id,
            product_id: remote.device.product_id,
            device_version: remote.device.device_version,
            interfaces: (0..=u8::MAX)
                .zip(&remote.interfaces)
                .map(|(number, &[class, subclass, protocol])| InterfaceClass {
                    number,
                    class,
                    subclass,
                    protocol,
                })
                .collect(),
            strings: Strings::default(),
        });
        Ok(sightings.collect())
    }

    fn open(&self, place: &Place) -> Result<Opened, DeviceError> {
        let busid = match place {
            Place::Export { server, busid } if *server == self.server => BusId::new(busid),
            Place::Export { .. } | Place::Port { .. } | Place::Ipmi { .. } => None,
        };
        let busid = busid.ok_or(HostError::Gone)?;
        let mut client = usbip::open(self.address(), &busid).map_err(device_error)?;
        let descriptor = *client.device_descriptor();
        let configuration = client.configuration().clone();
        let strings = Strings::read(&mut client, &descriptor)?;
        Ok(Opened { device: Box::new(client), descriptor, configuration, strings })
    }

    fn advice(&self, _: &Place, error: &HostError) -> Option<String> {
        match error {
            HostError::Busy => Some(
                "another USB/IP client has it; end that one, or give it back there with `usbip port` and `usbip detach`"
                    .to_owned(),
            ),
            HostError::Stall
            | HostError::Cancelled
            | HostError::Gone
            | HostError::Overflow
            | HostError::Permission
            | HostError::Misuse(_)
            | HostError::Other(_) => None,
        }
    }
}

/// Why a server's devices cannot be listed. Whoever tells it names the server.
#[must_use]
pub fn list_error(error: ClientError) -> HostError {
    match error {
        ClientError::Timeout => HostError::Cancelled,
        ClientError::Connect { source, .. } => HostError::Other(format!("cannot connect: {source}")),
        ClientError::Address(source) => HostError::Other(format!("it has no address: {source}")),
        ClientError::Io(_)
        | ClientError::Closed
        | ClientError::Refused(_)
        | ClientError::Wire(_)
        | ClientError::Protocol(_)
        | ClientError::Descriptors(_)
        | ClientError::Device(_) => HostError::Other(error.to_string()),
    }
}

fn device_error(error: ClientError) -> DeviceError {
    match error {
        ClientError::Refused(Status::Busy) => HostError::Busy.into(),
        ClientError::Refused(
            Status::NotAvailable | Status::NoDevice | Status::DeviceError | Status::Ok | Status::Other(_),
        )
        | ClientError::Closed
        | ClientError::Io(_) => HostError::Gone.into(),
        ClientError::Timeout => HostError::Cancelled.into(),
        ClientError::Address(_) | ClientError::Connect { .. } => HostError::Other(error.to_string()).into(),
        ClientError::Descriptors(error) => error.into(),
        ClientError::Device(error) => error.into(),
        ClientError::Wire(_) | ClientError::Protocol(_) => DeviceError::Server(error.to_string()),
    }
}
