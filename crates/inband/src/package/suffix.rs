//! The DFU suffix behind a package (DFU 1.1, appendix B).

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
};

use inband_dfu::suffix::{Crc32, LEN, Suffix};

/// Appends a suffix to a file without one.
///
/// # Errors
/// Those of reading and writing the file.
pub fn append(file: &mut File, suffix: &Suffix) -> io::Result<()> {
    let length = file.seek(SeekFrom::End(0))?;
    let crc = checksum(file, length)?;
    file.write_all(&suffix.to_bytes(crc))
}

/// The valid suffix behind the first `length` bytes of a file, if that is what follows them.
///
/// # Errors
/// Those of reading the file.
pub fn find(file: &mut File, length: u64) -> io::Result<Option<Suffix>> {
    if file.seek(SeekFrom::End(0))? != length.saturating_add(LEN as u64) {
        return Ok(None);
    }
    let crc = checksum(file, length)?;
    let mut bytes = [0; LEN];
    file.read_exact(&mut bytes)?;
    Ok(Suffix::verify(crc, &bytes).ok())
}

/// Writes a suffix anew after the bytes before it have changed.
///
/// # Errors
/// Those of reading and writing the file.
pub fn refresh(file: &mut File, length: u64, suffix: &Suffix) -> io::Result<()> {
    let crc = checksum(file, length)?;
    file.write_all(&suffix.to_bytes(crc))
}

/// The checksum of the first `length` bytes; the file then stands behind them.
fn checksum(file: &mut File, length: u64) -> io::Result<Crc32> {
    file.rewind()?;
    let mut crc = Crc32::new();
    let mut portion = vec![0; 64 * 1024];
    let mut left = length;
    while left > 0 {
        let most = usize::try_from(left).map_or(portion.len(), |left| left.min(portion.len()));
        file.read_exact(&mut portion[..most])?;
        crc.update(&portion[..most]);
        left -= most as u64;
    }
    Ok(crc)
}
