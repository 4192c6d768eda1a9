use tokio::time::Instant;

/// Lines that say what is going on, each with the seconds since the command began. They go to standard error, so
/// that standard output carries the result and nothing else.
#[derive(Debug)]
pub(crate) struct Progress {
    begun: Instant,
}

impl Progress {
    pub(crate) fn begin() -> Self {
        Self { begun: Instant::now() }
    }

    pub(crate) fn step(&self, text: impl AsRef<str>) {
        eprintln!("[{:5.1}s] {}", self.begun.elapsed().as_secs_f32(), text.as_ref());
    }

    /// Something that works, but not as the user may think.
    pub(crate) fn warn(&self, text: impl AsRef<str>) {
        self.step(format!("warning: {}", text.as_ref()));
    }
}
