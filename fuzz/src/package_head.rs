//! The head: any 512 bytes are refused or are written back the same.

use inband_package::Head;

pub(crate) fn run(input: &[u8]) {
    let Some(bytes) = input.first_chunk() else { return };
    match Head::parse(bytes) {
        Ok(head) => assert_eq!(head.encode().as_ref(), Ok(bytes)),
        // Every refusal can be shown.
        Err(fault) => assert!(!fault.to_string().is_empty()),
    }
}
