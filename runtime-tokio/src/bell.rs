//! How other threads get the run loop's attention.

use std::sync::Arc;
use std::task::Wake;

use tokio::sync::Notify;

/// Remembers that it rang, however often, until somebody looks.
#[derive(Debug, Default)]
pub(crate) struct Bell(Notify);

impl Bell {
    /// Resolves once it rang since the last time; may be dropped and asked for again without loss.
    pub(crate) async fn rung(&self) {
        self.0.notified().await;
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.notify_one();
    }
}
