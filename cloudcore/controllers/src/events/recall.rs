//! What a process before this one told, read back from the API: it is not told again, and its series go on.

use jiff::Timestamp;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};

use super::memory::{REPEATED, Same};
use super::{Reporter, Severity};

/// Events of one page.
const PAGE: u32 = 500;

impl Reporter {
    /// Reads which events this component has written for `reason`. What is said of an object then is compared with what was
    /// said before.
    ///
    /// # Errors
    /// If the API does; then the rest is told anew.
    pub(crate) async fn recall(&self, client: &Client, reason: &str) -> Result<(), kube::Error> {
        let api = Api::<Event>::all(client.clone());
        let fields = format!("reason={reason},reportingController={}", self.component);
        let mut params = ListParams::default().fields(&fields).limit(PAGE);
        let mut read = 0;
        while read < REPEATED.get() {
            let page = api.list(&params).await?;
            read += page.items.len();
            for event in &page.items {
                self.remember(event);
            }
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params.continue_token = Some(token),
                None => break,
            }
        }
        tracing::debug!(component = self.component, reason, read, "events of the process before");
        Ok(())
    }

    fn remember(&self, event: &Event) {
        let severity = match event.type_.as_deref() {
            Some("Warning") => Severity::Warning,
            Some("Normal") => Severity::Normal,
            _ => return,
        };
        let (Some(about), Some(first), Some(MicroTime(told))) =
            (&event.regarding, told_first(&event.name_any()), &event.event_time)
        else {
            return;
        };
        let series = event.series.as_ref();
        let (count, written) =
            series.map_or((1, *told), |series| (series.count, series.last_observed_time.0));
        let same = Same {
            component: self.component,
            about,
            severity,
            reason: event.reason.as_deref().unwrap_or_default(),
            action: event.action.as_deref(),
            message: event.note.as_deref(),
        };
        self.memory.lock().recall(&same, (first, count), written);
    }
}

/// The time in an event's name; none if somebody else chose the name.
fn told_first(name: &str) -> Option<Timestamp> {
    let (_, nanoseconds) = name.rsplit_once('.')?;
    Timestamp::from_nanosecond(i128::from_str_radix(nanoseconds, 16).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::super::tests::note;
    use super::*;

    #[test]
    fn the_name_of_an_event_says_when_it_was_told_first() {
        let note = note("uid", 1_000_000);
        let first = "2026-01-02T03:04:05.678901234Z".parse().unwrap();
        assert_eq!(told_first(&note.name(first)), Some(first));
        for other in ["", "web", "web.", "web.xyz", "web.ffffffffffffffffffffffffffffffffffffff"] {
            assert_eq!(told_first(other), None, "{other}");
        }
    }
}
