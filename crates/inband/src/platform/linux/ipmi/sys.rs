//! Linux's IPMI driver, as linux/ipmi.h has it: two requests that pass structures with pointers in them.
#![allow(unsafe_code, reason = "ioctl(2) is all that the driver has, and no crate that is kept wraps it")]

use std::{
    ffi::{c_int, c_long, c_short, c_uchar, c_uint, c_ushort, c_void},
    fs::File,
    io,
    os::fd::AsRawFd as _,
    time::Duration,
};

use inband_ipmi::wire::Request;

/// IPMI_SYSTEM_INTERFACE_ADDR_TYPE.
const SYSTEM_INTERFACE: c_int = 0x0c;
/// IPMI_BMC_CHANNEL.
const BMC_CHANNEL: c_short = 0x0f;
/// IPMI_RESPONSE_RECV_TYPE: an answer; other types are events and commands, which are for nobody here.
const RESPONSE: c_int = 1;
/// IPMI_MAX_MSG_LENGTH.
const MAX_MESSAGE: usize = 272;
/// Bytes of `struct ipmi_addr`, with room: an address of any type is received into it.
const MAX_ADDRESS: usize = 64;

/// IPMICTL_SEND_COMMAND.
const SEND_COMMAND: libc::Ioctl = libc::_IOR::<IpmiReq>(b'i' as u32, 13);
/// IPMICTL_RECEIVE_MSG_TRUNC: what is too long is cut, and taken out of the queue all the same.
const RECEIVE_MSG_TRUNC: libc::Ioctl = libc::_IOWR::<IpmiRecv>(b'i' as u32, 11);

#[repr(C)]
struct IpmiMsg {
    netfn: c_uchar,
    cmd: c_uchar,
    data_len: c_ushort,
    data: *mut c_uchar,
}

#[repr(C)]
struct IpmiReq {
    addr: *mut c_void,
    addr_len: c_uint,
    msgid: c_long,
    msg: IpmiMsg,
}

#[repr(C)]
struct IpmiRecv {
    recv_type: c_int,
    addr: *mut c_void,
    addr_len: c_uint,
    msgid: c_long,
    msg: IpmiMsg,
}

#[repr(C)]
struct SystemInterfaceAddr {
    addr_type: c_int,
    channel: c_short,
    lun: c_uchar,
}

/// An answer of the BMC's, its completion code first in the data.
pub(super) struct Received {
    pub(super) number: c_long,
    pub(super) netfn: u8,
    pub(super) command: u8,
    pub(super) data: Vec<u8>,
}

/// Sends a request to the BMC's system interface.
///
/// # Errors
/// What the driver says; EMSGSIZE for one that is too long.
pub(super) fn send(device: &File, number: c_long, request: &Request<'_>) -> io::Result<()> {
    let mut address =
        SystemInterfaceAddr { addr_type: SYSTEM_INTERFACE, channel: BMC_CHANNEL, lun: request.lun };
    let mut data = request.data.to_vec();
    let data_len =
        c_ushort::try_from(data.len()).map_err(|_| io::Error::from_raw_os_error(libc::EMSGSIZE))?;
    let mut message = IpmiReq {
        addr: (&raw mut address).cast(),
        addr_len: size_of::<SystemInterfaceAddr>() as c_uint,
        msgid: number,
        msg: IpmiMsg { netfn: request.netfn, cmd: request.command, data_len, data: data.as_mut_ptr() },
    };
    // SAFETY: the descriptor is open as long as `device` is borrowed. The number is that of a request that takes a `struct ipmi_req`, and
    // `message` is one; `address` and `data` live until behind the call, are as long as it says, and the driver copies them in it.
    match unsafe { libc::ioctl(device.as_raw_fd(), SEND_COMMAND, &raw mut message) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Waits until something can be received; whether that came in time.
///
/// # Errors
/// What the kernel says.
pub(super) fn wait(device: &File, time: Duration) -> io::Result<bool> {
    let mut poll = libc::pollfd { fd: device.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let milliseconds = c_int::try_from(time.as_millis()).unwrap_or(c_int::MAX);
    // SAFETY: `poll` is one structure, as the 1 says, and lives until behind the call; the descriptor is open meanwhile.
    match unsafe { libc::poll(&raw mut poll, 1, milliseconds) } {
        -1 => match io::Error::last_os_error() {
            // A signal: whoever waits looks what it wants.
            error if error.kind() == io::ErrorKind::Interrupted => Ok(false),
            error => Err(error),
        },
        0 => Ok(false),
        _ => Ok(true),
    }
}

/// What has come; `None` if it was no answer, or has gone.
///
/// # Errors
/// What the driver says.
pub(super) fn receive(device: &File) -> io::Result<Option<Received>> {
    let mut address = [0_u64; MAX_ADDRESS / size_of::<u64>()];
    let mut data = [0_u8; MAX_MESSAGE];
    let mut message = IpmiRecv {
        recv_type: 0,
        addr: address.as_mut_ptr().cast(),
        addr_len: MAX_ADDRESS as c_uint,
        msgid: 0,
        msg: IpmiMsg { netfn: 0, cmd: 0, data_len: MAX_MESSAGE as c_ushort, data: data.as_mut_ptr() },
    };
    // SAFETY: the descriptor is open as long as `device` is borrowed. The number is that of a request that takes a `struct ipmi_recv`, and
    // `message` is one; `address` and `data` live until behind the call, and the driver writes no more into them than `message` says they have.
    let received = unsafe { libc::ioctl(device.as_raw_fd(), RECEIVE_MSG_TRUNC, &raw mut message) };
    if received == -1 {
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            // Too long for an answer of ours; it has been taken out.
            Some(libc::EMSGSIZE) => return Ok(None),
            Some(libc::EAGAIN | libc::EINTR) => return Ok(None),
            _ => return Err(error),
        }
    }
    if message.recv_type != RESPONSE {
        return Ok(None);
    }
    let length = usize::from(message.msg.data_len).min(data.len());
    Ok(Some(Received {
        number: message.msgid,
        netfn: message.msg.netfn,
        command: message.msg.cmd,
        data: data[..length].to_vec(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As strace(1) shows ipmitool(1) asking.
    #[cfg(all(target_arch = "x86_64", target_pointer_width = "64"))]
    #[test]
    fn the_requests_have_the_numbers_of_the_kernel() {
        assert_eq!((SEND_COMMAND, RECEIVE_MSG_TRUNC), (0x8028_690d, 0xc030_690b));
    }

    #[test]
    fn what_is_no_ipmi_device_says_so() {
        let file = File::open("/dev/null").unwrap();
        let request = Request { netfn: 6, lun: 0, command: 1, data: &[] };
        assert_eq!(send(&file, 1, &request).unwrap_err().raw_os_error(), Some(libc::ENOTTY));
        assert_eq!(receive(&file).map(|_| ()).unwrap_err().raw_os_error(), Some(libc::ENOTTY));
    }
}
