//! What a medium says (docs/spec/volume.md, 7): lines of KEY=VALUE, in the first block or in files.

use std::{fmt::Write as _, time::Duration};

use inband_package::Hex;
use inband_session::ResultCode;
use inband_usb::DeviceBackend;
use inband_volume::{
    fat::{Geometry, Image, Marker, Texts},
    scsi::BLOCK,
    sparse::Base,
};

use super::{Bmc, media::Profile};
use crate::worker::Worker;

/// How to use the volume; its lines end with CRLF there.
const README: &str = include_str!("README.TXT");

/// A key and its value.
type Line = (&'static str, String);

/// The lines, and which file they are in.
#[derive(Debug)]
pub(super) struct Notice {
    pub(super) marker: Marker,
    lines: Vec<Line>,
}

impl Notice {
    fn new(profile: Profile, marker: Marker) -> Self {
        let spec = match profile {
            Profile::Fat(_) => "INBAND-FAT-1",
            Profile::Raw => "INBAND-RAW-1",
        };
        let state = match marker {
            Marker::Ready => "READY",
            Marker::Busy => "REFUSED",
            Marker::Pass => "PASS",
            Marker::Fail => "FAIL",
        };
        Self { marker, lines: vec![("SPEC", spec.into()), ("STATE", state.into())] }
    }

    fn push(&mut self, key: &'static str, value: impl ToString) {
        self.lines.push((key, value.to_string()));
    }

    fn push_result(&mut self, code: ResultCode) {
        self.push("RESULT", code);
        self.push("CODE", code.code());
    }

    fn text(&self) -> String {
        self.lines.iter().fold(String::new(), |mut text, (key, value)| {
            // A String takes everything.
            let _ = write!(text, "{key}={value}\r\n");
            text
        })
    }

    /// A medium with the lines in the first block, and zeros behind it.
    pub(super) fn first_block(&self) -> FirstBlock {
        let text = self.text();
        let mut block = Box::new([b' '; BLOCK]);
        let length = text.len().min(BLOCK);
        block[..length].copy_from_slice(&text.as_bytes()[..length]);
        block[BLOCK - 2..].copy_from_slice(b"\r\n");
        FirstBlock(block)
    }

    /// A volume with the lines in its files.
    pub(super) fn volume(&self, geometry: Geometry, generation: u32) -> Image {
        let text = self.text().into_bytes();
        let readme = README.replace('\n', "\r\n").into_bytes();
        Image::new(
            geometry,
            generation,
            Texts { readme, status: text.clone(), marker: self.marker, verdict: text },
        )
    }
}

/// What stands in the first block while nobody has written there; behind it there are zeros.
#[derive(Debug)]
pub(super) struct FirstBlock(Box<[u8; BLOCK]>);

impl FirstBlock {
    pub(super) const fn bytes(&self) -> &[u8; BLOCK] {
        &self.0
    }
}

impl Base for FirstBlock {
    fn block(&self, lba: u64, block: &mut [u8]) {
        block.fill(0);
        if lba == 0 {
            block.copy_from_slice(&*self.0);
        }
    }
}

impl<B: DeviceBackend, W: Worker> Bmc<B, W> {
    /// What a medium says that waits for a package.
    pub(super) fn waiting_notice(&self, refusal: Option<ResultCode>) -> Notice {
        let profile = self.profile().unwrap_or(Profile::Raw);
        let mut notice = Notice::new(profile, if refusal.is_none() { Marker::Ready } else { Marker::Busy });
        if let Some(code) = refusal {
            notice.push_result(code);
        }
        self.push_machine(&mut notice);
        self.push_generation(&mut notice);
        if let Some(options) = self.options.volume.as_ref().filter(|_| refusal.is_none()) {
            notice.push("MAX_SIZE", options.max_package);
        }
        notice.push(
            "NEXT",
            match (refusal, profile) {
                (Some(_), _) => "wait until there is another medium",
                (None, Profile::Fat(_)) => {
                    "copy the package to FIRMWARE.BIN, unmount, then eject or create APPLY.CMD"
                }
                (None, Profile::Raw) => "write the package from the first block on, then eject",
            },
        );
        notice
    }

    /// What a medium says that tells of a session's end.
    pub(super) fn verdict_notice(&self, now: Duration, code: ResultCode) -> Notice {
        let marker = if code == ResultCode::Ok { Marker::Pass } else { Marker::Fail };
        let mut notice = Notice::new(self.profile().unwrap_or(Profile::Raw), marker);
        notice.push_result(code);
        if let Some(detail) = self.volume.detail {
            notice.push("DETAIL", detail);
        }
        notice.push("SESSION", self.session.id());
        self.push_machine(&mut notice);
        // What the host claims is not repeated to it before signatures have verified.
        let head = self.session.status(now).head;
        let (version, head) = self
            .volume
            .package
            .map_or_else(Default::default, |package| (package.version.to_string(), Hex(&head).to_string()));
        notice.push("VERSION", version);
        notice.push("HEAD", head);
        self.push_generation(&mut notice);
        notice.push("NEXT", "eject");
        notice
    }

    fn push_machine(&self, notice: &mut Notice) {
        let view = self.session.store();
        notice.push("MACHINE", self.session.machine());
        notice.push("RUNNING", view.record.slot(view.running).version);
    }

    fn push_generation(&self, notice: &mut Notice) {
        notice.push("GENERATION", format_args!("{:08X}", self.volume.generation));
    }
}
