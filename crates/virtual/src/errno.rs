//! What became of a transfer, as USB/IP and usbmon tell it: negative errno numbers of Linux, whatever either side runs on.

/// -ENOENT: unlinked, and waited for.
pub const ENOENT: i32 = -2;
/// -ENODEV: the device has left the bus.
pub const ENODEV: i32 = -19;
/// -EPIPE: STALL.
pub const EPIPE: i32 = -32;
/// -EPROTO: the device does not answer, or not as it should.
pub const EPROTO: i32 = -71;
/// -EOVERFLOW: the device sent more than was asked for.
pub const EOVERFLOW: i32 = -75;
/// -ECONNRESET: unlinked.
pub const ECONNRESET: i32 = -104;
/// -ESHUTDOWN: the endpoint was disabled.
pub const ESHUTDOWN: i32 = -108;
/// -EREMOTEIO: a short packet where [`SHORT_NOT_OK`](crate::usbip::wire::SHORT_NOT_OK) forbids it.
pub const EREMOTEIO: i32 = -121;
