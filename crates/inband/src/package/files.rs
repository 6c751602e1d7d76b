//! Files that are either written whole or not at all.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Seek, Write},
    path::{Path, PathBuf},
};

use crate::{cancel::Cancel, error::Error, platform};

/// A file on its way: it has another name until it is complete, and is removed if it never is.
pub(super) struct Part {
    path: PathBuf,
    part: PathBuf,
    file: File,
    named: bool,
}

impl Part {
    /// Begins a file that will replace what is at `path`, if that is a file: a pipe or a device in its place is never meant.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(super) fn create(path: &Path) -> Result<Self, Error> {
        if fs::metadata(path).is_ok_and(|there| !there.is_file()) {
            let source =
                io::Error::new(io::ErrorKind::InvalidInput, "it is no file, and only a file can be replaced");
            return Err(Error::File { path: path.to_owned(), action: "create", source });
        }
        let mut name = path.file_name().map_or_else(OsString::new, OsString::from);
        name.push(format!(".{}.part", std::process::id()));
        let part = path.with_file_name(name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&part)
            .map_err(|source| Error::File { path: path.to_owned(), action: "create", source })?;
        Ok(Self { path: path.to_owned(), part, file, named: false })
    }

    /// Begins a file that will replace what is at `path`, with the same content and permissions; it stands at its beginning.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(super) fn copy_of(path: &Path) -> Result<Self, Error> {
        let failed = |action| move |source| Error::File { path: path.to_owned(), action, source };
        let mut from = File::open(path).map_err(failed("open"))?;
        let mut part = Self::create(path)?;
        let copied = io::copy(&mut from, &mut part.file).and_then(|_| {
            part.file.set_permissions(from.metadata()?.permissions())?;
            part.file.rewind()
        });
        copied.map_err(failed("copy"))?;
        Ok(part)
    }

    /// Writes the whole content.
    ///
    /// # Errors
    /// That of `write`.
    pub(super) fn write<T>(
        &mut self,
        write: impl FnOnce(&mut BufWriter<&mut File>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut buffered = BufWriter::new(&mut self.file);
        let result = write(&mut buffered)?;
        let flushed = buffered.flush();
        flushed.map_err(|source| Error::File { path: self.path.clone(), action: "write", source })?;
        Ok(result)
    }

    /// The file as it is so far.
    pub(super) const fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// The file is complete: it gets its name, unless somebody asked for the end.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Cancelled`].
    pub(super) fn finish(mut self, cancel: &Cancel) -> Result<(), Error> {
        cancel.check()?;
        let named = self.file.sync_all().and_then(|()| fs::rename(&self.part, &self.path));
        named.map_err(|source| Error::File { path: self.path.clone(), action: "write", source })?;
        self.named = true;
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.named {
            // Whatever stopped it is the error to tell.
            let _ = fs::remove_file(&self.part);
        }
    }
}

/// Writes a file that must not be there yet; `secret` keeps others from reading it.
///
/// # Errors
/// [`Error::File`].
pub(super) fn write_new(path: &Path, content: &[u8], secret: bool) -> Result<(), Error> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    if secret {
        platform::owner_only(&mut options);
    }
    let result = options.open(path).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()
    });
    result.map_err(|source| Error::File { path: path.to_owned(), action: "create", source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_asks_for_the_end_finds_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fw.tar");
        fs::write(&path, "old").unwrap();
        let cancel = Cancel::default();
        let part = Part::create(&path).unwrap();
        cancel.request();
        assert!(matches!(part.finish(&cancel), Err(Error::Cancelled)));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
