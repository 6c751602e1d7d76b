//! What is written to and read from a FunctionFS control file (linux/usb/functionfs.h). No I/O.

#[cfg(test)]
mod tests;

mod microsoft;

use inband_usb::{
    DescriptorSet, Setup,
    descriptor::{ENDPOINT, INTERFACE, Interface, LANGUAGE},
};
pub(crate) use microsoft::MicrosoftDescriptors;

/// FUNCTIONFS_DESCRIPTORS_MAGIC_V2.
const DESCRIPTORS_MAGIC: u32 = 3;
/// FUNCTIONFS_STRINGS_MAGIC.
const STRINGS_MAGIC: u32 = 2;

/// FUNCTIONFS_HAS_FS_DESC.
const HAS_FULL_SPEED: u32 = 1;
/// FUNCTIONFS_HAS_HS_DESC.
const HAS_HIGH_SPEED: u32 = 2;
/// FUNCTIONFS_HAS_MS_OS_DESC.
const HAS_MICROSOFT: u32 = 8;
/// FUNCTIONFS_EVENTFD: an eventfd counts every event there was, also those the kernel's queue of four has dropped since. How
/// [`ep0`](crate::ep0) knows that a request it holds was cancelled.
const EVENTFD: u32 = 32;
/// FUNCTIONFS_ALL_CTRL_RECIP: requests to the device and to "other" come to the function as well.
const ALL_RECIPIENTS: u32 = 64;

/// bmAttributes of a bulk endpoint.
const BULK: u8 = 2;
/// wMaxPacketSize of bulk endpoints at the two speeds (USB 2.0, 5.8.3).
const FULL_SPEED_PACKET: u16 = 64;
const HIGH_SPEED_PACKET: u16 = 512;

/// Whether class-specific descriptors are written. Kernels before 6.12 refuse those of DFU, type 21h, with EINVAL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClassDescriptors {
    /// As the set has them.
    Written,
    /// Left out. dfu-util then shows version 0000 and takes its own transfer size, and works.
    LeftOut,
}

/// What of a set is written that not every kernel takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    /// Class-specific descriptors.
    pub(crate) class: ClassDescriptors,
    /// Descriptors for Windows.
    pub(crate) microsoft: MicrosoftDescriptors,
}

impl Form {
    /// Everything, as the specifications have it.
    pub(crate) const WHOLE: Self =
        Self { class: ClassDescriptors::Written, microsoft: MicrosoftDescriptors::Written };

    /// What to try for a set, one after the other. That hosts learn what DFU needs comes before what Windows needs.
    pub(crate) fn to_try(set: &DescriptorSet, kernel: &str) -> impl Iterator<Item = Self> {
        let has_class = set.interfaces.iter().any(|interface| !interface.extra.is_empty());
        let classes = [ClassDescriptors::Written, ClassDescriptors::LeftOut];
        let classes = classes.into_iter().take(if has_class { 2 } else { 1 });
        let microsoft = MicrosoftDescriptors::to_try(set, kernel);
        classes.flat_map(move |class| {
            microsoft.iter().map(move |microsoft| Self { class, microsoft: *microsoft })
        })
    }
}

/// What is written first: descriptors at full and at high speed, and for Windows. Endpoint addresses are wishes: the controller gives
/// others. `eventfd` is the number of the file descriptor in the writing process.
pub(crate) fn descriptors(set: &DescriptorSet, form: Form, eventfd: u32) -> Vec<u8> {
    let speeds = [FULL_SPEED_PACKET, HIGH_SPEED_PACKET].map(|packet| speed(set, form.class, packet));
    let for_windows = microsoft::descriptors(set, form.microsoft);
    let microsoft_flag = if for_windows.is_some() { HAS_MICROSOFT } else { 0 };
    let mut blob = Vec::new();
    let flags = HAS_FULL_SPEED | HAS_HIGH_SPEED | microsoft_flag | EVENTFD | ALL_RECIPIENTS;
    for word in [DESCRIPTORS_MAGIC, 0, flags, eventfd] {
        blob.extend(word.to_le_bytes());
    }
    for (count, _) in speeds.iter().chain(&for_windows) {
        blob.extend(count.to_le_bytes());
    }
    for (_, bytes) in speeds.iter().chain(&for_windows) {
        blob.extend(bytes);
    }
    with_length(blob)
}

/// The descriptors of one speed, and how many there are.
fn speed(set: &DescriptorSet, class: ClassDescriptors, packet: u16) -> (u32, Vec<u8>) {
    let (mut count, mut bytes) = (0, Vec::new());
    let mut name_index = 0_u8;
    for (number, interface) in (0_u8..).zip(&set.interfaces) {
        let Interface { class: base, subclass, protocol, .. } = *interface;
        let name = if interface.name.is_empty() {
            0
        } else {
            name_index += 1;
            name_index
        };
        // At most 30, which the set's configuration of 4096 bytes does not promise and the kernel checks.
        let endpoints = interface.endpoints.len() as u8;
        bytes.extend([9, INTERFACE, number, 0, endpoints, base, subclass, protocol, name]);
        count += 1;
        if class == ClassDescriptors::Written {
            bytes.extend(&interface.extra);
            count += whole_descriptors(&interface.extra);
        }
        let [low, high] = packet.to_le_bytes();
        for endpoint in &interface.endpoints {
            bytes.extend([7, ENDPOINT, endpoint.0, BULK, low, high, 0]);
            count += 1;
        }
    }
    (count, bytes)
}

/// How many descriptors the bytes are, which the set has checked to be whole.
fn whole_descriptors(mut bytes: &[u8]) -> u32 {
    let mut count = 0;
    while let Some(rest) = bytes.first().and_then(|length| bytes.get(usize::from(*length).max(1)..)) {
        bytes = rest;
        count += 1;
    }
    count
}

/// What is written second: the names of the interfaces in the one language there is.
pub(crate) fn strings(set: &DescriptorSet) -> Vec<u8> {
    let names: Vec<&str> = set
        .interfaces
        .iter()
        .map(|interface| interface.name.as_str())
        .filter(|name| !name.is_empty())
        .collect();
    let languages = u32::from(!names.is_empty());
    let mut blob = Vec::new();
    for word in [STRINGS_MAGIC, 0, names.len() as u32, languages] {
        blob.extend(word.to_le_bytes());
    }
    if !names.is_empty() {
        blob.extend(LANGUAGE.to_le_bytes());
    }
    for name in names {
        // The set's strings have no NUL: `open` refuses those that do.
        blob.extend(name.as_bytes());
        blob.push(0);
    }
    with_length(blob)
}

/// Both blobs begin with a magic number and their length.
fn with_length(mut blob: Vec<u8>) -> Vec<u8> {
    let length = (blob.len() as u32).to_le_bytes();
    blob[4..8].copy_from_slice(&length);
    blob
}

/// Bytes of one event.
pub(crate) const EVENT_SIZE: usize = 12;
/// Most events the kernel keeps, and so the most one read brings.
pub(crate) const MAX_EVENTS: usize = 4;

/// What happened to the function, as the kernel tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The gadget was bound to its controller.
    Bind,
    /// It was unbound.
    Unbind,
    /// SET_CONFIGURATION or SET_INTERFACE.
    Enable,
    /// Bus reset, unplug, SET_CONFIGURATION(0).
    Disable,
    /// A request. wIndex of a request to an interface is its number in this function, and the high byte is lost; of a
    /// request to an endpoint, the number of its file.
    Setup(Setup),
    /// The bus went idle.
    Suspend,
    /// The bus is busy again.
    Resume,
}

/// Reads what one read(2) brought: whole events, eight bytes of setup packet (of a SETUP only), the type, three of padding. Types
/// a later kernel may add are left out.
pub(crate) fn events(bytes: &[u8]) -> impl Iterator<Item = Event> {
    bytes.chunks_exact(EVENT_SIZE).filter_map(|event| {
        let (setup, kind) = event.split_first_chunk::<8>()?;
        Some(match kind.first()? {
            0 => Event::Bind,
            1 => Event::Unbind,
            2 => Event::Enable,
            3 => Event::Disable,
            4 => Event::Setup(Setup::from_bytes(*setup)),
            5 => Event::Suspend,
            6 => Event::Resume,
            _ => return None,
        })
    })
}
