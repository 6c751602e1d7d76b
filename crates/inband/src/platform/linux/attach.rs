//! `inband attach`, which takes vhci_hcd.

use std::{io::ErrorKind, thread, time::Duration};

use inband_virtual::usbip::{self, BusId, ClientError, attach::AttachError};

use crate::{
    cancel::Cancel,
    cli::args::Attach,
    error::Error,
    output::Output,
    usb::{Server, list_error},
};

/// Between two tries to attach the device again.
const POLL: Duration = Duration::from_millis(50);
/// What to try where there is no server or no device.
const ADVICE: &str = "is inbandd up, does it listen there, and is the device not attached elsewhere?";

/// Attaches a device, and with `keep` again whenever it comes back.
///
/// # Errors
/// As [`commands::attach::run`](crate::commands::attach::run).
pub(crate) fn attach(
    args: &Attach,
    server: Option<&Server>,
    output: &mut Output,
    cancel: &Cancel,
) -> Result<(), Error> {
    let server = server.ok_or_else(|| Error::Usage("attach needs --usbip HOST[:PORT]".to_owned()))?;
    let busid = busid(args, server)?;
    let mut last = None;
    loop {
        match usbip::attach::attach((server.host.as_str(), server.port), &busid, last) {
            Ok(port) => {
                output.text(format_args!("{server}/{busid} is on port {port} of vhci_hcd"));
                output.json(
                    "attached",
                    &Attached { server: server.to_string(), busid: busid.to_string(), port },
                );
                if !args.keep {
                    return Ok(());
                }
                last = Some(port);
            }
            // As long as the kernel has it the server says it is in use; in between it is not there.
            Err(AttachError::Client(error)) if last.is_some() && is_passing(&error) => {}
            Err(error) => {
                let permission = matches!(&error, AttachError::Refused { source, .. } if source.kind() == ErrorKind::PermissionDenied);
                return Err(Error::Attach { reason: error.to_string(), permission });
            }
        }
        if cancel.is_requested() {
            return Ok(());
        }
        thread::sleep(POLL);
    }
}

#[derive(serde::Serialize)]
struct Attached {
    server: String,
    busid: String,
    port: u32,
}

const fn is_passing(error: &ClientError) -> bool {
    match error {
        ClientError::Refused(_)
        | ClientError::Address(_)
        | ClientError::Connect { .. }
        | ClientError::Io(_)
        | ClientError::Closed
        | ClientError::Timeout => true,
        ClientError::Wire(_)
        | ClientError::Protocol(_)
        | ClientError::Descriptors(_)
        | ClientError::Device(_) => false,
    }
}

fn busid(args: &Attach, server: &Server) -> Result<BusId, Error> {
    if let Some(name) = &args.busid {
        return BusId::new(name).ok_or_else(|| Error::Usage("BUSID has to be like 1-1".to_owned()));
    }
    let devices = usbip::list((server.host.as_str(), server.port)).map_err(|error| Error::Bus {
        where_: format!("at the USB/IP server {server}"),
        source: list_error(error),
        advice: ADVICE.to_owned(),
    })?;
    match devices.as_slice() {
        [] => Err(Error::NoDevice {
            where_: format!("at the USB/IP server {server}"),
            advice: ADVICE.to_owned(),
        }),
        [one] => Ok(one.device.busid.clone()),
        many => Err(Error::ManyDevices(many.iter().map(|remote| remote.device.busid.to_string()).collect())),
    }
}
