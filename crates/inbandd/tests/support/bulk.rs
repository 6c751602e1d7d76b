//! A host program that speaks bulk, over an opened device: what `inband update` does there, and what a hostile one can.

use std::time::Duration;

use inband_bulk::{
    ChunkSet, Host,
    host::{Limits, Next},
    interface::{IN, OUT},
    wire::{HEADER_LENGTH, Header, Kind, Outcome, RESULT_LENGTH, message},
};
use inband_package::{Head, Index, spans, tar};
use inband_session::ResultCode;
use inband_usb::{HostDevice, HostError, HostTransfer};

/// How long a host puts up with a transfer to the device.
const PATIENCE: Duration = Duration::from_secs(120);

/// A package's file, as a host program sees it.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    /// What an OFFER holds.
    pub(crate) head: Vec<u8>,
    /// The chunks as they are sent.
    pub(crate) chunks: Vec<Vec<u8>>,
}

impl Parts {
    pub(crate) fn of(file: &[u8]) -> Self {
        let head = Head::parse(file[512..1024].try_into().unwrap()).unwrap();
        let length = usize::try_from(spans::beginning(&head)).unwrap();
        let index_length = head.index_length as usize;
        let index_at = length - index_length.div_ceil(tar::BLOCK) * tar::BLOCK;
        let index = Index::parse(&file[index_at..index_at + index_length]).unwrap();
        let chunks = spans::chunks(&head, &index).unwrap();
        let bytes = |span: &spans::Span| {
            let at = usize::try_from(span.offset).unwrap();
            file[at..at + span.length as usize].to_vec()
        };
        Self { head: file[..length].to_vec(), chunks: chunks.iter().map(bytes).collect() }
    }

    /// A file that goes whole.
    pub(crate) fn whole(file: &[u8]) -> Self {
        Self { head: Vec::new(), chunks: file.chunks(65_536).map(<[u8]>::to_vec).collect() }
    }

    pub(crate) fn lengths(&self) -> Vec<u32> {
        self.chunks.iter().map(|chunk| chunk.len() as u32).collect()
    }

    /// How many chunks from the first one on a slot holds, which the only image of the package fills from its beginning.
    pub(crate) fn held(&self, slot: &[u8]) -> usize {
        let mut rest = slot;
        let held = self.chunks.iter().take_while(|chunk| {
            let found = rest.strip_prefix(chunk.as_slice());
            rest = found.unwrap_or_default();
            found.is_some()
        });
        held.count()
    }

    fn host(&self, now: Duration, exchange: u32) -> Host {
        if self.head.is_empty() {
            let length = self.lengths().into_iter().map(u64::from).sum();
            return Host::whole(now, Limits::default(), exchange, length).unwrap();
        }
        Host::offer(now, Limits::default(), exchange, &self.head, self.lengths()).unwrap()
    }
}

/// How an exchange went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Went {
    pub(crate) outcome: Outcome,
    /// Numbers of the chunks that were sent.
    pub(crate) sent: Vec<u32>,
}

impl Went {
    pub(crate) fn result(&self) -> ResultCode {
        ResultCode::from_code(self.outcome.result).unwrap()
    }
}

/// Runs an exchange over a device in dfuIDLE whose interfaces are claimed. `before_chunk` is told, before each chunk, its number.
pub(crate) fn exchange<H: HostDevice>(
    usb: &mut H,
    exchange: u32,
    parts: &Parts,
    mut before_chunk: impl FnMut(&mut H, u32),
) -> Result<Went, String> {
    let mut host = parts.host(usb.now(), exchange);
    let (mut outs, mut ins, mut sent) = (Vec::new(), Vec::new(), Vec::new());
    let mut moved_at = usb.now();
    let result = loop {
        let next = loop {
            let data = match host.poll_next().map_err(|error| error.to_string())? {
                Next::Submit(data) => data,
                Next::Chunk { number, length, mut message } => {
                    before_chunk(usb, number);
                    sent.push(number);
                    let chunk = &parts.chunks[number as usize];
                    message[HEADER_LENGTH..HEADER_LENGTH + length as usize].copy_from_slice(chunk);
                    message
                }
                next @ (Next::Wait | Next::Over(_)) => break next,
            };
            let transfer = HostTransfer::BulkOut { endpoint: OUT, data };
            outs.push(usb.submit(transfer).map_err(|error| error.to_string())?);
        };
        if let Next::Over(outcome) = next {
            break Ok(Went { outcome, sent });
        }
        let posted: usize = ins.iter().map(|(_, length)| length).sum();
        let length = host.expected().saturating_sub(posted);
        if length > 0 {
            let transfer = HostTransfer::BulkIn { endpoint: IN, length };
            ins.push((usb.submit(transfer).map_err(|error| error.to_string())?, length));
        }
        let mut news = false;
        let mut failed = None;
        while let Some(completion) = usb.poll() {
            news = true;
            moved_at = usb.now();
            if outs.contains(&completion.id) {
                outs.retain(|id| *id != completion.id);
                match completion.result {
                    Ok(()) => host.handle_sent(moved_at, completion.length),
                    Err(error) => failed = Some(error.to_string()),
                }
            } else if ins.iter().any(|(id, _)| *id == completion.id) {
                ins.retain(|(id, _)| *id != completion.id);
                match completion.result {
                    Ok(()) => {
                        host.handle_received(moved_at, &completion.data)
                            .map_err(|error| error.to_string())?;
                    }
                    Err(error) => failed = Some(error.to_string()),
                }
            }
        }
        let now = usb.now();
        host.handle_timeout(now).map_err(|error| error.to_string())?;
        if let Some(error) = failed {
            break Err(error);
        }
        if !outs.is_empty() && now >= moved_at + PATIENCE {
            break Err("the device takes nothing".into());
        }
        if !news {
            usb.wait(Duration::from_secs(10));
        }
    };
    for id in outs.into_iter().chain(ins.into_iter().map(|(id, _)| id)) {
        usb.cancel(id);
    }
    result
}

// A host that does one thing after the other.

/// Sends a message.
pub(crate) fn send(
    usb: &mut impl HostDevice,
    kind: Kind,
    exchange: u32,
    number: u32,
    body: &[u8],
) -> Result<(), HostError> {
    let data = message(kind, exchange, number, body);
    usb.run(HostTransfer::BulkOut { endpoint: OUT, data }, PATIENCE).map(drop)
}

/// The next message of the device's, which has one unit.
pub(crate) fn answer(usb: &mut impl HostDevice) -> (Header, Vec<u8>) {
    parse(&usb.run(HostTransfer::BulkIn { endpoint: IN, length: 512 }, PATIENCE).unwrap().data)
}

/// A message of one unit.
pub(crate) fn parse(unit: &[u8]) -> (Header, Vec<u8>) {
    let header = Header::parse(unit[..HEADER_LENGTH].try_into().unwrap()).unwrap();
    let body = unit[HEADER_LENGTH..HEADER_LENGTH + header.length as usize].to_vec();
    (header, body)
}

/// The RESULT, which is due.
pub(crate) fn result(usb: &mut impl HostDevice) -> ResultCode {
    let (header, body) = answer(usb);
    assert_eq!(Kind::from_number(header.kind), Some(Kind::Result));
    result_in(&body)
}

/// The result in the body of a RESULT.
pub(crate) fn result_in(body: &[u8]) -> ResultCode {
    let outcome = Outcome::parse(<&[u8; RESULT_LENGTH]>::try_from(body).unwrap()).unwrap();
    ResultCode::from_code(outcome.result).unwrap()
}

/// Offers a package, which is accepted. What is asked for.
pub(crate) fn offer(usb: &mut impl HostDevice, exchange: u32, parts: &Parts) -> Vec<u32> {
    send(usb, Kind::Offer, exchange, 0, &parts.head).unwrap();
    let (header, body) = answer(usb);
    assert_eq!((Kind::from_number(header.kind), header.exchange), (Some(Kind::Need), exchange));
    ChunkSet::from_need(&body, &parts.lengths()).unwrap().iter().collect()
}

/// Sends a chunk.
pub(crate) fn chunk(
    usb: &mut impl HostDevice,
    exchange: u32,
    parts: &Parts,
    number: u32,
) -> Result<(), HostError> {
    send(usb, Kind::Chunk, exchange, number, &parts.chunks[number as usize])
}
