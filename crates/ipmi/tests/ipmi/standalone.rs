//! What Linux asks of a BMC before it believes that there is one.

use inband_ipmi::{
    standalone::Standalone,
    wire::{Code, Request},
};

fn ask(bmc: &mut Standalone, netfn: u8, command: u8, data: &[u8]) -> (Code, Vec<u8>) {
    let reply = bmc.handle(&Request { netfn, lun: 0, command, data });
    (reply.code, reply.data)
}

#[test]
fn it_says_who_it_is_and_keeps_what_it_is_told() {
    let bmc = &mut Standalone::default();
    let (code, id) = ask(bmc, 6, 1, &[]);
    assert_eq!((code, id.len(), &id[6..9]), (Code::OK, 11, &[0xcf, 0xc2, 0][..]));
    assert_eq!(ask(bmc, 6, 0x2e, &[0x0d]), (Code::OK, vec![]));
    assert_eq!(ask(bmc, 6, 0x2f, &[]), (Code::OK, vec![0x0d]));
    assert_eq!(ask(bmc, 6, 4, &[]), (Code::OK, vec![0x56, 0]));
    // What it says of BT: one request at a time.
    assert_eq!(ask(bmc, 6, 0x36, &[]), (Code::OK, vec![1, 0xff, 0xff, 4, 2]));
}

#[test]
fn everything_else_is_refused() {
    let bmc = &mut Standalone::default();
    assert_eq!(ask(bmc, 6, 1, &[0]).0, Code::LENGTH);
    assert_eq!(ask(bmc, 6, 2, &[]).0, Code::INVALID_COMMAND);
    assert_eq!(ask(bmc, 0, 1, &[]).0, Code::INVALID_COMMAND);
}
