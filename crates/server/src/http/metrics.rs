//! `/metrics`: what is counted and measured, for Prometheus, without the name of any tenant, user or key.

use std::sync::Arc;

use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use keyark_model::access::Right;
use keyark_model::system::{BackupHeader, BackupStatus};
use keyark_model::{DomainId, Kind};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;

use super::answer::answer_error;
use super::{Peer, request_id_of, request_of};
use crate::app::counters::{Counters, Label};
use crate::app::{App, AppError, Core};

/// What is measured when somebody asks.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Absent while a system restore runs.
    pub system: Option<SystemFacts>,
    pub disk_free: Option<u64>,
    pub disk_reserve: u64,
    pub operations_running: u64,
    pub usage_position: u64,
    pub usage_lost: u64,
    pub argon_runs: u64,
}

/// What only a running system knows.
#[derive(Clone, Debug, Default)]
pub struct SystemFacts {
    pub position: u64,
    /// Of the root domain, by the word of the kind.
    pub records: Vec<(&'static str, u64)>,
    /// Lines of the catalogue, by outcome.
    pub backups: Vec<(&'static str, u64)>,
    /// Seconds since the newest backup taken here was completed.
    pub backup_age: Option<f64>,
    pub not_escrowed: bool,
    /// Seconds that the clock is behind the newest entry.
    pub clock_behind: u64,
    pub clock_doubtful: bool,
    pub keys_open: u64,
    /// Backup instances that are enabled.
    pub instances: u64,
    /// Seconds since the moment up to which every enabled instance is protected; absent when one never was.
    pub protected_age: Option<f64>,
    /// Destinations of enabled instances whose last try failed.
    pub destinations_failing: u64,
}

/// The whole page, in OpenMetrics text.
pub fn render(counters: &Counters, now: &Snapshot) -> String {
    let mut all = Registry::with_prefix("keyark");
    all.register("requests", "Calls by operation and class of status", counters.requests.clone());
    all.register("request_duration_seconds", "Time from the request to its answer", counters.latency.clone());
    all.register("failed_logins", "Logins refused", counters.failed_logins.clone());
    let started = counters.started.0 as f64 / 1e6;
    all.register("process_start_time_seconds", "Start of the server in Unix time", ConstGauge::new(started));
    all.register("disk_reserve_bytes", "Writes are refused below this", gauge(now.disk_reserve));
    if let Some(free) = now.disk_free {
        all.register("disk_free_bytes", "Room on the data folder's file system", gauge(free));
    }
    all.register("operations_running", "Backups and restores under way", gauge(now.operations_running));
    all.register("usage_log_position", "Records of the usage log so far", gauge(now.usage_position));
    all.register("usage_records_lost", "Usage records that found no room", ConstCounter::new(now.usage_lost));
    let help = "Passwords that were stretched: checked or set";
    all.register("argon2_runs", help, ConstCounter::new(now.argon_runs));
    let ready = i64::from(now.system.is_some());
    all.register("ready", "1 when requests are answered, 0 while a system restore runs", ConstGauge::new(ready));
    if let Some(system) = &now.system {
        register_system(&mut all, system);
    }
    let mut page = String::with_capacity(16 << 10);
    encode(&mut page, &all).expect("writing to a string cannot fail");
    page
}

fn register_system(all: &mut Registry, system: &SystemFacts) {
    all.register("log_position", "Newest entry of the change log", gauge(system.position));
    all.register("records", "Records of the root domain by kind", labelled("kind", &system.records));
    all.register("backups", "Backups in the catalogue by outcome", labelled("status", &system.backups));
    if let Some(age) = system.backup_age {
        let help = "Seconds since the newest backup taken here was completed";
        all.register("backup_newest_age_seconds", help, ConstGauge::new(age));
    }
    let help = "1 until the default system backup key was proven to be kept elsewhere";
    all.register("backup_key_not_escrowed", help, ConstGauge::new(i64::from(system.not_escrowed)));
    let help = "How far the clock is behind the newest entry of the change log";
    all.register("clock_behind_seconds", help, gauge(system.clock_behind));
    let help = "1 while the clock is too far from what the change log and this server know to be believed";
    all.register("clock_doubtful", help, ConstGauge::new(i64::from(system.clock_doubtful)));
    all.register("keys_open", "Keys in the cache of open keys", gauge(system.keys_open));
    all.register("backup_instances_enabled", "Backup instances that protect", gauge(system.instances));
    if let Some(age) = system.protected_age {
        let help = "Seconds since the moment up to which every enabled backup instance is protected";
        all.register("protected_age_seconds", help, ConstGauge::new(age));
    }
    let help = "Destinations of enabled backup instances whose last try failed";
    all.register("destinations_failing", help, gauge(system.destinations_failing));
}

/// The encoder takes no more than `i64::MAX`.
fn gauge(number: u64) -> ConstGauge<i64> {
    ConstGauge::new(i64::try_from(number).unwrap_or(i64::MAX))
}

fn labelled(name: &'static str, values: &[(&'static str, u64)]) -> Family<[Label; 1], Gauge> {
    let family = Family::<[Label; 1], Gauge>::default();
    for (value, number) in values {
        family.get_or_create(&[(name, *value)]).set(i64::try_from(*number).unwrap_or(i64::MAX));
    }
    family
}

/// The same page in the older text format, for readers that do not ask for OpenMetrics: there a counter's family has
/// the name of its samples, and there are no units and no end mark.
pub fn classic(page: &str) -> String {
    let counters: Vec<&str> =
        page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    let mut out = String::with_capacity(page.len());
    for line in page.lines().filter(|line| *line != "# EOF" && !line.starts_with("# UNIT ")) {
        let of_family = ["# HELP ", "# TYPE "].iter().find_map(|mark| {
            let (family, rest) = line.strip_prefix(*mark)?.split_once(' ')?;
            counters.contains(&family).then(|| format!("{mark}{family}_total {rest}"))
        });
        out.push_str(of_family.as_deref().unwrap_or(line));
        out.push('\n');
    }
    out
}

fn measure(app: &App) -> Snapshot {
    let system = app.core().ok().and_then(|core| {
        let facts = system_facts(app, &core);
        facts.inspect_err(|e| tracing::error!(error = %e, "the system cannot be measured")).ok()
    });
    let free_space = keyark_store::Options::default().free_space;
    Snapshot {
        system,
        disk_free: free_space(app.folder.path()).ok(),
        disk_reserve: app.settings.disk_reserve,
        operations_running: app.running.count(),
        usage_position: app.usage.head().position,
        usage_lost: app.usage.lost(),
        argon_runs: app.argon.runs.get(),
    }
}

fn system_facts(app: &App, core: &Core) -> Result<SystemFacts, AppError> {
    let now = app.now();
    let mut records = Vec::new();
    for kind in Kind::ALL {
        records.push((kind.word(), core.store.count(DomainId::ROOT, *kind)?.records));
    }
    let catalogue = core.load_all::<BackupHeader>(DomainId::ROOT)?;
    let outcomes = [
        ("in_progress", BackupStatus::InProgress),
        ("completed", BackupStatus::Completed),
        ("failed", BackupStatus::Failed),
        ("canceled", BackupStatus::Canceled),
    ];
    let with = |status: BackupStatus| catalogue.iter().filter(|b| b.header.status == status).count() as u64;
    let own = catalogue.iter().filter(|b| b.header.status == BackupStatus::Completed && !b.header.uploaded);
    let newest = own.filter_map(|b| b.header.finished_at).max();
    let protection = app.protection.standing(core, now)?;
    Ok(SystemFacts {
        position: core.store.head().seq,
        records,
        backups: outcomes.map(|(word, status)| (word, with(status))).to_vec(),
        backup_age: newest.map(|t| (now.0 - t.0).max(0) as f64 / 1e6),
        not_escrowed: core.escrow_warning(None, now)?.is_some(),
        clock_behind: core.clock_behind(now).unsigned_abs(),
        clock_doubtful: app.clock_warning(core, now).is_some(),
        keys_open: core.keys.held(),
        instances: protection.instances,
        protected_age: protection.until.map(|t| (now.0 - t.0).max(0) as f64 / 1e6),
        destinations_failing: protection.failing,
    })
}

/// This machine may read without a token; from elsewhere it takes the right to audit the root domain.
fn may_read(app: &App, peer: Peer, headers: &HeaderMap) -> Result<(), AppError> {
    // What a proxy on this machine passes on comes from elsewhere.
    let passed_on = ["forwarded", "x-forwarded-for", "x-real-ip"].iter().any(|name| headers.contains_key(*name));
    if peer.local || !passed_on && peer.address.is_some_and(|a| a.to_canonical().is_loopback()) {
        return Ok(());
    }
    let request = request_of(headers, peer)?;
    let core = app.core()?;
    let caller = app.principals.authenticate(&core, &request, app.now())?;
    match caller.domain == DomainId::ROOT && caller.may(Right::AuditRead) && !caller.must_change_password {
        true => Ok(()),
        false => Err(AppError::forbidden("metrics")),
    }
}

pub async fn metrics(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    headers: HeaderMap,
) -> Response {
    let id = request_id_of(&headers);
    if let Err(e) = may_read(&app, peer, &headers) {
        return answer_error(&id, &e);
    }
    let page = tokio::task::spawn_blocking(move || render(&app.counters, &measure(&app)));
    let page = match page.await {
        Ok(page) => page,
        Err(e) => return answer_error(&id, &AppError::internal(e)),
    };
    let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let (media, page) = match accept.contains("application/openmetrics-text") {
        true => ("application/openmetrics-text; version=1.0.0; charset=utf-8", page),
        false => ("text/plain; version=0.0.4; charset=utf-8", classic(&page)),
    };
    ([(header::CONTENT_TYPE, HeaderValue::from_static(media))], page).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use keyark_api::ErrorCode;
    use keyark_model::Time;

    use super::{Snapshot, SystemFacts, classic, render};
    use crate::app::counters::{Counters, LATENCY};

    fn page() -> String {
        let counters = Counters::new(Time(1_700_000_000_500_000));
        for (micros, ended) in
            [(100, Ok(200)), (700, Ok(200)), (30_000_000, Err(ErrorCode::Internal)), (-5, Err(ErrorCode::NotFound))]
        {
            counters.called("key_get", ended, micros);
        }
        counters.called("token_create", Err(ErrorCode::Unauthorized), 20_000);
        counters.called("token_create", Err(ErrorCode::InvalidParam), 20_000);
        let system = SystemFacts {
            position: 42,
            records: vec![("keys", 3), ("users", 1)],
            backups: vec![("completed", 2), ("failed", 0)],
            backup_age: Some(12.5),
            not_escrowed: true,
            clock_behind: 7,
            clock_doubtful: true,
            keys_open: 1,
            instances: 2,
            protected_age: Some(3.5),
            destinations_failing: 1,
        };
        render(&counters, &Snapshot { system: Some(system), disk_free: Some(1 << 30), ..Snapshot::default() })
    }

    /// The value of a sample, by its name with its labels.
    fn value(page: &str, sample: &str) -> Option<f64> {
        page.lines().find_map(|l| l.strip_prefix(sample)?.strip_prefix(' ')?.parse().ok())
    }

    #[test]
    fn buckets_are_cumulative_and_the_last_one_is_the_count() {
        let page = page();
        let bucket = |le: &str| {
            // Which label stands first is the encoder's business.
            let orders = [
                format!("keyark_request_duration_seconds_bucket{{le=\"{le}\",operation=\"key_get\"}}"),
                format!("keyark_request_duration_seconds_bucket{{operation=\"key_get\",le=\"{le}\"}}"),
            ];
            orders.iter().find_map(|name| value(&page, name)).unwrap_or_else(|| panic!("no bucket {le}: {page}"))
        };
        let mut last = 0.0;
        for bound in LATENCY {
            let count = bucket(&format!("{bound:?}"));
            assert!(count >= last, "{bound}");
            last = count;
        }
        assert_eq!((bucket("0.0005"), bucket("0.001"), bucket("10.0"), bucket("+Inf")), (2.0, 3.0, 3.0, 4.0));
        assert_eq!(value(&page, "keyark_request_duration_seconds_count{operation=\"key_get\"}"), Some(4.0));
    }

    #[test]
    fn calls_are_counted_by_how_they_ended() {
        let page = page();
        let of =
            |status: &str| value(&page, &format!("keyark_requests_total{{operation=\"key_get\",status=\"{status}\"}}"));
        assert_eq!((of("2xx"), of("4xx"), of("5xx")), (Some(2.0), Some(1.0), Some(1.0)));
        assert_eq!(value(&page, "keyark_failed_logins_total"), Some(1.0));
        assert_eq!(value(&page, "keyark_records{kind=\"keys\"}"), Some(3.0));
        assert_eq!(value(&page, "keyark_backup_key_not_escrowed"), Some(1.0));
        assert_eq!(value(&page, "keyark_process_start_time_seconds"), Some(1_700_000_000.5));
    }

    /// Every sample stands under the HELP and TYPE of its family, and no family comes twice.
    fn families(page: &str, total_in_family: bool) -> HashMap<String, String> {
        let mut kinds: HashMap<String, String> = HashMap::new();
        let (mut helped, mut open) = (HashSet::new(), String::new());
        for line in page.lines().filter(|l| *l != "# EOF") {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (family, help) = rest.split_once(' ').unwrap();
                assert!(!help.is_empty() && helped.insert(family.to_owned()), "HELP of {family} twice or empty");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (family, kind) = rest.split_once(' ').unwrap();
                assert!(helped.contains(family), "{family} has no HELP");
                assert!(kinds.insert(family.into(), kind.into()).is_none(), "{family} comes twice");
                open = family.to_owned();
            } else {
                let name = line.split(['{', ' ']).next().unwrap();
                let suffixes: &[&str] = match (kinds[&open].as_str(), total_in_family) {
                    ("histogram", _) => &["_bucket", "_sum", "_count"],
                    ("counter", false) => &["_total"],
                    _ => &[""],
                };
                assert!(suffixes.iter().any(|s| name == format!("{open}{s}")), "{name} under {open}");
                assert_eq!(kinds[&open] == "counter", name.ends_with("_total"), "{name}");
            }
        }
        assert_eq!(helped.len(), kinds.len(), "HELP without TYPE");
        kinds
    }

    #[test]
    fn each_family_has_help_and_type_once_in_both_formats() {
        let page = page();
        assert!(page.ends_with("# EOF\n"));
        let (new, old) = (families(&page, false), families(&classic(&page), true));
        assert_eq!(new.len(), old.len());
        assert!(old.contains_key("keyark_requests_total") && new.contains_key("keyark_requests"));
        assert!(!classic(&page).contains("EOF") && classic(&page).ends_with('\n'));
    }

    #[test]
    fn while_a_restore_runs_there_is_a_page_without_the_system() {
        let page = render(&Counters::new(Time(0)), &Snapshot::default());
        assert_eq!(value(&page, "keyark_ready"), Some(0.0));
        assert_eq!(value(&page, "keyark_log_position"), None);
        families(&page, false);
    }
}
