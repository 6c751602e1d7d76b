//! A folder for the time of a demo.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{error::Error, text::hex};

/// A folder that nobody else can look into, removed with all it holds when it is dropped.
pub struct Scratch(PathBuf);

impl Scratch {
    /// A new folder where the system keeps temporary files.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::System`].
    pub fn new() -> Result<Self, Error> {
        let mut random = [0; 8];
        getrandom::fill(&mut random)
            .map_err(|error| Error::System { action: "get randomness", source: io::Error::other(error) })?;
        let path = std::env::temp_dir().join(format!("inband-demo-{}", hex(&random)));
        let mut builder = fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&path).map_err(|source| Error::File {
            path: path.clone(),
            action: "create",
            source,
        })?;
        Ok(Self(path))
    }

    /// A path in the folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is the system's to clean up.
        let _ = fs::remove_dir_all(&self.0);
    }
}
