//! What the guest's side, QEMU, sends.

use inband_usb::{Direction, EndpointAddress, Setup};

use super::{
    Capabilities, Header, PARSER_LIMIT, WireError, control_head, data_endpoint, exact, kind, parse_bulk,
    parse_control, parse_hello, put, put_bulk, put_hello, same_length, split,
};

/// A message of the guest's. What needs a capability that is not offered here (streams, bulk receiving) is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromGuest<'a> {
    /// The first message.
    Hello(Capabilities),
    /// A bus reset; nothing answers it.
    Reset,
    /// SET_CONFIGURATION.
    SetConfiguration {
        /// bConfigurationValue.
        value: u8,
    },
    /// GET_CONFIGURATION.
    GetConfiguration,
    /// SET_INTERFACE.
    SetAltSetting {
        /// bInterfaceNumber.
        interface: u8,
        /// bAlternateSetting.
        alternate: u8,
    },
    /// GET_INTERFACE.
    GetAltSetting {
        /// bInterfaceNumber.
        interface: u8,
    },
    /// An isochronous endpoint is to run.
    StartIsoStream {
        /// The endpoint, as it came.
        endpoint: u8,
    },
    /// It is to stop.
    StopIsoStream {
        /// The endpoint, as it came.
        endpoint: u8,
    },
    /// An interrupt endpoint is to be polled.
    StartInterruptReceiving {
        /// The endpoint, as it came.
        endpoint: u8,
    },
    /// It is no longer.
    StopInterruptReceiving {
        /// The endpoint, as it came.
        endpoint: u8,
    },
    /// Gives up the transfer whose id is in the header.
    CancelDataPacket,
    /// QEMU does not take the device.
    FilterReject,
    /// What QEMU would take; of no interest.
    FilterFilter,
    /// The device's leaving was seen: what comes from now on is for the next one.
    DeviceDisconnectAck,
    /// A control transfer with data to the device, or with wLength 0 and bmRequestType's direction OUT.
    ControlOut {
        /// The request; the data has its wLength.
        setup: Setup,
        /// The data stage.
        data: &'a [u8],
    },
    /// A control transfer with data from the device.
    ControlIn {
        /// The request.
        setup: Setup,
    },
    /// Bulk data; none is a zero-length packet.
    BulkOut {
        /// An OUT endpoint.
        endpoint: EndpointAddress,
        /// The data.
        data: &'a [u8],
    },
    /// Asks for bulk data.
    BulkIn {
        /// An IN endpoint.
        endpoint: EndpointAddress,
        /// Bytes, at most.
        length: u32,
    },
    /// Isochronous data; nothing answers it.
    Iso,
    /// Interrupt data.
    InterruptOut {
        /// An OUT endpoint.
        endpoint: EndpointAddress,
        /// The data.
        data: &'a [u8],
    },
}

impl<'a> FromGuest<'a> {
    /// Reads what follows a header.
    ///
    /// # Errors
    /// It is no message, or none that may come with these capabilities.
    pub fn parse(kind: u32, body: &'a [u8], capabilities: Capabilities) -> Result<Self, WireError> {
        let empty = |message| exact::<0>(kind, body).map(|[]| message);
        let needs = |wanted| if capabilities.has(wanted) { Ok(()) } else { Err(WireError::Kind(kind)) };
        match kind {
            kind::HELLO => parse_hello(body).map(Self::Hello),
            kind::RESET => empty(Self::Reset),
            kind::SET_CONFIGURATION => exact(kind, body).map(|[value]| Self::SetConfiguration { value }),
            kind::GET_CONFIGURATION => empty(Self::GetConfiguration),
            kind::SET_ALT_SETTING => {
                exact(kind, body).map(|[interface, alternate]| Self::SetAltSetting { interface, alternate })
            }
            kind::GET_ALT_SETTING => exact(kind, body).map(|[interface]| Self::GetAltSetting { interface }),
            kind::START_ISO_STREAM => {
                // Packets of a transfer and their number.
                exact(kind, body).map(|[endpoint, _, _]| Self::StartIsoStream { endpoint })
            }
            kind::STOP_ISO_STREAM => exact(kind, body).map(|[endpoint]| Self::StopIsoStream { endpoint }),
            kind::START_INTERRUPT_RECEIVING => {
                exact(kind, body).map(|[endpoint]| Self::StartInterruptReceiving { endpoint })
            }
            kind::STOP_INTERRUPT_RECEIVING => {
                exact(kind, body).map(|[endpoint]| Self::StopInterruptReceiving { endpoint })
            }
            kind::CANCEL_DATA_PACKET => empty(Self::CancelDataPacket),
            kind::FILTER_REJECT => {
                needs(Capabilities::FILTER)?;
                empty(Self::FilterReject)
            }
            kind::FILTER_FILTER => {
                needs(Capabilities::FILTER)?;
                Ok(Self::FilterFilter)
            }
            kind::DEVICE_DISCONNECT_ACK => {
                needs(Capabilities::DEVICE_DISCONNECT_ACK)?;
                empty(Self::DeviceDisconnectAck)
            }
            kind::CONTROL_PACKET => {
                let (setup, _, data) = parse_control(body)?;
                match setup.direction() {
                    Direction::Out => {
                        same_length(kind, body, data, setup.length.into())?;
                        Ok(Self::ControlOut { setup, data })
                    }
                    Direction::In => {
                        same_length(kind, body, data, 0)?;
                        Ok(Self::ControlIn { setup })
                    }
                }
            }
            kind::BULK_PACKET => {
                let (endpoint, _, length, data) = parse_bulk(body, capabilities)?;
                match endpoint.direction() {
                    Direction::Out => {
                        same_length(kind, body, data, length as usize)?;
                        Ok(Self::BulkOut { endpoint, data })
                    }
                    Direction::In => {
                        same_length(kind, body, data, 0)?;
                        Ok(Self::BulkIn { endpoint, length })
                    }
                }
            }
            kind::ISO_PACKET | kind::INTERRUPT_PACKET => {
                let ([endpoint, _, low, high], data) = split(kind, body)?;
                let endpoint = data_endpoint(endpoint)?;
                if endpoint.direction() == Direction::In {
                    return Err(WireError::Endpoint(endpoint.0));
                }
                same_length(kind, body, data, u16::from_le_bytes([low, high]).into())?;
                if kind == kind::ISO_PACKET {
                    return Ok(Self::Iso);
                }
                Ok(Self::InterruptOut { endpoint, data })
            }
            other => Err(WireError::Kind(other)),
        }
    }

    /// Writes the message, as a guest's side does. A hello is to be written with capabilities of none.
    pub fn encode(&self, id: u64, capabilities: Capabilities, out: &mut impl Extend<u8>) {
        let size = Header::size(capabilities);
        let mut bare = |kind, head: &[u8], data: &[u8]| put(out, size, kind, id, head, data);
        match *self {
            Self::Hello(offered) => put_hello(out, "a guest", offered),
            Self::Reset => bare(kind::RESET, &[], &[]),
            Self::SetConfiguration { value } => bare(kind::SET_CONFIGURATION, &[value], &[]),
            Self::GetConfiguration => bare(kind::GET_CONFIGURATION, &[], &[]),
            Self::SetAltSetting { interface, alternate } => {
                bare(kind::SET_ALT_SETTING, &[interface, alternate], &[]);
            }
            Self::GetAltSetting { interface } => bare(kind::GET_ALT_SETTING, &[interface], &[]),
            Self::StartIsoStream { endpoint } => bare(kind::START_ISO_STREAM, &[endpoint, 8, 2], &[]),
            Self::StopIsoStream { endpoint } => bare(kind::STOP_ISO_STREAM, &[endpoint], &[]),
            Self::StartInterruptReceiving { endpoint } => {
                bare(kind::START_INTERRUPT_RECEIVING, &[endpoint], &[]);
            }
            Self::StopInterruptReceiving { endpoint } => {
                bare(kind::STOP_INTERRUPT_RECEIVING, &[endpoint], &[]);
            }
            Self::CancelDataPacket => bare(kind::CANCEL_DATA_PACKET, &[], &[]),
            Self::FilterReject => bare(kind::FILTER_REJECT, &[], &[]),
            Self::FilterFilter => bare(kind::FILTER_FILTER, b"\0", &[]),
            Self::DeviceDisconnectAck => bare(kind::DEVICE_DISCONNECT_ACK, &[], &[]),
            Self::ControlOut { setup, data } => {
                let data = &data[..data.len().min(setup.length.into())];
                bare(kind::CONTROL_PACKET, &control_head(&setup, 0, data.len() as u16), data);
            }
            Self::ControlIn { setup } => {
                bare(kind::CONTROL_PACKET, &control_head(&setup, 0, setup.length), &[]);
            }
            Self::BulkOut { endpoint, data } => {
                put_bulk(out, capabilities, id, endpoint.0, 0, data.len(), data);
            }
            Self::BulkIn { endpoint, length } => {
                put_bulk(out, capabilities, id, endpoint.0, 0, length as usize, &[]);
            }
            Self::Iso => bare(kind::ISO_PACKET, &[1, 0, 0, 0], &[]),
            Self::InterruptOut { endpoint, data } => {
                let data = &data[..data.len().min(usize::from(u16::MAX))];
                let [low, high] = (data.len() as u16).to_le_bytes();
                bare(kind::INTERRUPT_PACKET, &[endpoint.0, 0, low, high], data);
            }
        }
    }
}

/// The endpoint of a message with more bulk data than is taken, of which only the type header has come. `length` is that in the header.
///
/// # Errors
/// It is no such message.
pub fn bulk_head(length: u32, head: &[u8], capabilities: Capabilities) -> Result<EndpointAddress, WireError> {
    let wrong = WireError::Length { kind: kind::BULK_PACKET, length };
    let (endpoint, _, said, rest) = parse_bulk(head, capabilities)?;
    let data = length as usize - (head.len() - rest.len());
    if endpoint.direction() == Direction::In || said as usize != data || data > PARSER_LIMIT {
        return Err(wrong);
    }
    Ok(endpoint)
}
