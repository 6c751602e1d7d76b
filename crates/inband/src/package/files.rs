//! Files that are either written whole or not at all.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use crate::error::Error;

/// A file on its way: it has another name until it is complete, and is removed if it never is.
pub(super) struct Part {
    path: PathBuf,
    part: PathBuf,
    file: Option<File>,
}

impl Part {
    /// Begins a file that will replace what is at `path`.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(super) fn create(path: &Path) -> Result<Self, Error> {
        let mut name = path.file_name().map_or_else(OsString::new, OsString::from);
        name.push(format!(".{}.part", std::process::id()));
        let part = path.with_file_name(name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&part)
            .map_err(|source| Error::File { path: path.to_owned(), action: "create", source })?;
        Ok(Self { path: path.to_owned(), part, file: Some(file) })
    }

    /// Writes the whole content.
    ///
    /// # Errors
    /// That of `write`.
    pub(super) fn write<T>(
        &mut self,
        write: impl FnOnce(&mut BufWriter<&mut File>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let path = self.path.clone();
        let failed = |source| Error::File { path, action: "write", source };
        let Some(file) = &mut self.file else { return Err(failed(io::ErrorKind::NotFound.into())) };
        let mut buffered = BufWriter::new(file);
        let result = write(&mut buffered)?;
        buffered.flush().map_err(failed)?;
        Ok(result)
    }

    /// The file as it is so far.
    pub(super) const fn file(&mut self) -> Option<&mut File> {
        self.file.as_mut()
    }

    /// The file is complete: it gets its name.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(super) fn finish(mut self) -> Result<(), Error> {
        let Some(file) = self.file.take() else { return Ok(()) };
        let result = file.sync_all().and_then(|()| fs::rename(&self.part, &self.path));
        result.map_err(|source| {
            // It stays nobody's file otherwise; the first error is the one to tell.
            let _ = fs::remove_file(&self.part);
            Error::File { path: self.path.clone(), action: "write", source }
        })
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if self.file.take().is_some() {
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
    #[cfg(unix)]
    if secret {
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    }
    // Elsewhere a file inherits who may read it from its directory.
    #[cfg(not(unix))]
    let _ = secret;
    let result = options.open(path).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()
    });
    result.map_err(|source| Error::File { path: path.to_owned(), action: "create", source })
}
