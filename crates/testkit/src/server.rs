//! A whole server in a folder that is thrown away: real sockets, a clock that a test turns, stops and restarts.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use keyark_model::Time;
use keyark_model::access::Role;
use keyark_server::app::schedules::run::run_due;
use keyark_server::http::serve::Server;
use keyark_server::{App, BootError, Folder, Settings, boot, housekeeping};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::client::{Client, agent, text};

/// The password of every user that the testkit makes.
pub const PASSWORD: &str = "correct horse battery";
/// When a test begins: 2026-01-01T00:00:00Z.
pub const START: Time = Time(1_767_225_600_000_000);

/// A clock that moves only when a test says so, and the timer beside it.
#[derive(Clone)]
struct Clock(Arc<AtomicI64>, Arc<AtomicU64>);

impl Clock {
    fn at(start: Time) -> Clock {
        Clock(Arc::new(AtomicI64::new(start.0)), Arc::default())
    }

    fn now(&self) -> Time {
        Time(self.0.load(Ordering::SeqCst))
    }

    fn elapsed(&self) -> Duration {
        Duration::from_micros(self.1.load(Ordering::SeqCst))
    }
}

/// A running server with an administrator who is logged in.
pub struct TestServer {
    /// Dropped last: the server stops before its folder goes.
    running: Option<Running>,
    pub settings: Settings,
    clock: Clock,
    users: AtomicU32,
    /// `admin` of the root domain.
    pub admin: Client,
    /// The password made at the first start, used up.
    pub first_password: String,
    _folder: Option<tempfile::TempDir>,
}

/// Everything that must go before the folder may be opened again.
struct Running {
    app: Arc<App>,
    stop: Option<oneshot::Sender<()>>,
    served: tokio::task::JoinHandle<()>,
    runtime: tokio::runtime::Runtime,
    address: SocketAddr,
    authority: Option<String>,
}

impl Running {
    fn start(settings: &Settings, clock: &Clock) -> (Running, Option<String>) {
        let now = clock.now();
        let booted = booted(settings, now);
        let first = booted.first_password.map(|p| p.expose().clone());
        let (mut authority, mut acceptor) = (None, None);
        if settings.tls {
            let (ca, identity) =
                boot::tls_identity(&booted.core, settings, now).expect("a certificate of the local CA");
            acceptor = Some(keyark_server::http::tls::acceptor(&identity).expect("a usable certificate"));
            authority = Some(ca);
        }
        let (turned, timed) = (clock.clone(), clock.clone());
        let folder = Folder::at(&settings.data);
        let app = App::new(
            booted.core,
            folder,
            settings.clone(),
            Arc::new(move || turned.now()),
            Arc::new(move || timed.elapsed()),
        );
        let app = Arc::new(app.expect("a usage log that opens"));
        housekeeping::tidy(&app).expect("a start tidies up");
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let server = runtime.block_on(async {
            let listener = TcpListener::bind(app.settings.listen).await.expect("a free port");
            Server::over(listener, app.clone(), acceptor).expect("a socket for administration")
        });
        runtime.block_on(async { housekeeping::look(&app) }).expect("protection can look for what is due");
        let address = server.address;
        let (stop, stopped) = oneshot::channel();
        let served = runtime.spawn(server.run(async {
            let _ = stopped.await;
        }));
        (Running { app, stop: Some(stop), served, runtime, address, authority }, first)
    }

    /// Lets open requests end, then lets everything go.
    fn stop(mut self) {
        drop(self.stop.take());
        let _ = self.runtime.block_on(&mut self.served);
        self.runtime.shutdown_timeout(Duration::from_secs(20));
        housekeeping::stop(&self.app);
        let left = Arc::strong_count(&self.app);
        assert_eq!(left, 1, "something still holds the server after its stop");
    }
}

/// A process that another test starts holds every open file for the moment between fork and exec, locks among them.
fn booted(settings: &Settings, now: Time) -> boot::Booted {
    let mut tries = 0;
    loop {
        match boot::boot(settings, now) {
            Ok(booted) => return booted,
            Err(BootError::Open(keyark_store::OpenError::InUse { .. })) if tries < 50 => tries += 1,
            Err(e) => panic!("the server does not start: {e}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn base(settings: &Settings, running: &Running) -> String {
    let scheme = if settings.tls { "https" } else { "http" };
    format!("{scheme}://127.0.0.1:{}", running.address.port())
}

fn loopback(data: &Path) -> Settings {
    // Test folders stand on whatever is there: how full that is, is a matter of the tests of a full disk only.
    Settings {
        data: data.into(),
        listen: ([127, 0, 0, 1], 0).into(),
        tls: false,
        disk_reserve: 0,
        largest_body: 1 << 20,
        ..Settings::default()
    }
}

impl TestServer {
    /// Plain HTTP in an empty folder.
    pub fn start() -> TestServer {
        TestServer::start_with(|_| {})
    }

    /// Plain HTTP in an empty folder, with other settings.
    pub fn start_with(change: impl FnOnce(&mut Settings)) -> TestServer {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut settings = loopback(&folder.path().join("data"));
        change(&mut settings);
        TestServer::begin(settings, START, Some(folder))
    }

    /// TLS with the certificate of the local CA, which the clients trust alone. The certificate is checked against the
    /// machine's clock, so this server starts at its time.
    pub fn start_tls() -> TestServer {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut settings = loopback(&folder.path().join("data"));
        settings.tls = true;
        TestServer::begin(settings, machine_time(), Some(folder))
    }

    /// A server in a folder that was not used before and stays when the server goes.
    pub fn start_in(data: &Path) -> TestServer {
        TestServer::begin(loopback(data), START, None)
    }

    /// A server whose first password was not used yet: `admin` is not logged in.
    pub fn unclaimed() -> TestServer {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let settings = loopback(&folder.path().join("data"));
        TestServer::first_start(settings, START, Some(folder))
    }

    fn first_start(settings: Settings, at: Time, folder: Option<tempfile::TempDir>) -> TestServer {
        let clock = Clock::at(at);
        let (running, first) = Running::start(&settings, &clock);
        let first_password = first.expect("a first start makes a first password");
        let admin = Client::nobody(agent_for(&running), &base(&settings, &running));
        let users = AtomicU32::new(0);
        TestServer { running: Some(running), settings, clock, users, admin, first_password, _folder: folder }
    }

    fn begin(settings: Settings, at: Time, folder: Option<tempfile::TempDir>) -> TestServer {
        let mut server = TestServer::first_start(settings, at, folder);
        let change = json!({ "username": "admin", "password": server.first_password, "new_password": PASSWORD });
        server.admin.patch("/v1/auth/changepw", change).ok(204);
        server.admin = server.admin.log_in(json!({ "username": "admin", "password": PASSWORD }));
        server
    }

    /// A server on a folder that was used before; `admin` has the testkit's password.
    pub fn start_again(data: &Path) -> TestServer {
        let settings = loopback(data);
        let clock = Clock::at(START);
        let (running, first) = Running::start(&settings, &clock);
        assert!(first.is_none(), "the folder was not empty");
        let nobody = Client::nobody(agent_for(&running), &base(&settings, &running));
        let admin = nobody.log_in(json!({ "username": "admin", "password": PASSWORD }));
        let users = AtomicU32::new(1000);
        TestServer {
            running: Some(running),
            settings,
            clock,
            users,
            admin,
            first_password: String::new(),
            _folder: None,
        }
    }

    /// Stops cleanly and starts again on the same folder. Clients made before talk to the old address; `admin` is new.
    pub fn restart(&mut self) {
        self.stop();
        let (running, first) = Running::start(&self.settings, &self.clock);
        assert!(first.is_none(), "a second start makes no password");
        let nobody = Client::nobody(agent_for(&running), &base(&self.settings, &running));
        self.running = Some(running);
        self.admin = nobody.log_in(json!({ "username": "admin", "password": PASSWORD }));
    }

    /// Stops cleanly.
    pub fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop();
        }
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("the test stopped it before")
    }

    /// The server without its sockets.
    pub fn app(&self) -> &Arc<App> {
        &self.running().app
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.running().address
    }

    /// The certificate of the local CA, of a server with TLS.
    pub fn authority(&self) -> Option<&str> {
        self.running().authority.as_deref()
    }

    /// The time that the server sees.
    pub fn now(&self) -> Time {
        self.clock.now()
    }

    /// Turns the clock forward; tokens of 300 seconds may end by that (`Client::renew`).
    pub fn advance(&self, seconds: i64) {
        self.clock.1.fetch_add(seconds.max(0).unsigned_abs() * 1_000_000, Ordering::SeqCst);
        self.jump(seconds);
    }

    /// Sets the clock forward or back, without time that passes.
    pub fn jump(&self, seconds: i64) {
        self.clock.0.fetch_add(seconds * 1_000_000, Ordering::SeqCst);
    }

    /// Turns the clock forward and logs `admin` in again.
    pub fn advance_days(&self, days: i64) {
        self.advance(days * 86_400);
        self.admin.renew();
    }

    /// Does now what the server does by itself every minute.
    pub fn tick(&self) {
        let core = self.app().core().expect("no restore is running");
        housekeeping::chores(self.app(), &core, self.now()).expect("housekeeping succeeds");
        drop(core);
        let running = self.running.as_ref().expect("it runs");
        running.runtime.block_on(run_due(&running.app)).expect("schedules are looked after");
    }

    /// Sends now what is due of every enabled backup instance; how many steps that were.
    pub fn protect(&self) -> usize {
        let running = self.running();
        let core = running.app.core().expect("no restore is running");
        running.runtime.block_on(core.looked());
        drop(core);
        housekeeping::protect(&running.app).expect("no restore is running")
    }

    /// Tells webhooks now what they have to be told; how many deliveries that were.
    pub fn tell(&self) -> usize {
        let running = self.running.as_ref().expect("it runs");
        running.runtime.block_on(housekeeping::tell(&running.app)).expect("no restore is running")
    }

    /// Somebody without a token.
    pub fn nobody(&self) -> Client {
        self.admin.without_token()
    }

    fn user_name(&self) -> String {
        format!("user{}", self.users.fetch_add(1, Ordering::Relaxed))
    }

    /// A new user of root in these built-in groups, logged in.
    pub fn as_user(&self, roles: &[Role]) -> Client {
        let groups: Vec<&str> = roles.iter().map(|r| r.name()).collect();
        user_new(&self.admin, &self.user_name(), &groups, None)
    }

    /// A new user of root in these groups, logged in.
    pub fn as_member(&self, groups: &[&str]) -> Client {
        user_new(&self.admin, &self.user_name(), groups, None)
    }

    /// A new domain with an administrator of its own; root's administrators have no business there.
    pub fn domain(&self, name: &str) -> TestDomain {
        let made = self.admin.post("/v1/domains", json!({ "name": name })).ok(201);
        let login = json!({ "username": "admin", "password": PASSWORD, "domain": name });
        let maker = self.admin.log_in(login);
        let admin = user_new(&maker, &format!("{name}-admin"), &[Role::Admin.name()], Some(name));
        admin.delete(&format!("/v1/usermgmt/groups/admin/users/{}", self.admin.user_id)).ok(204);
        TestDomain { id: text(&made, "id"), name: name.into(), admin }
    }

    /// A new user of a domain in these built-in groups, logged in there.
    pub fn as_user_of(&self, domain: &TestDomain, roles: &[Role]) -> Client {
        let groups: Vec<&str> = roles.iter().map(|r| r.name()).collect();
        user_new(&domain.admin, &self.user_name(), &groups, Some(&domain.name))
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if !std::thread::panicking() && self.running.is_some() {
            crate::canaries::every_archive(self);
        }
        if let Some(running) = self.running.take() {
            if std::thread::panicking() {
                running.runtime.shutdown_background();
            } else {
                running.stop();
            }
        }
    }
}

/// A domain with its own administrator.
pub struct TestDomain {
    pub id: String,
    pub name: String,
    pub admin: Client,
}

/// Makes a user where `by` works, puts it into groups, logs it in.
fn user_new(by: &Client, username: &str, groups: &[&str], domain: Option<&str>) -> Client {
    let user = by.post("/v1/usermgmt/users", json!({ "username": username, "password": PASSWORD })).ok(201);
    let id = text(&user, "user_id");
    for group in groups {
        by.post(&format!("/v1/usermgmt/groups/{}/users/{id}", group.replace(' ', "%20")), json!({})).ok(200);
    }
    let mut login = json!({ "username": username, "password": PASSWORD });
    if let Some(domain) = domain {
        login["auth_domain"] = Value::from(domain);
    }
    by.log_in(login)
}

fn agent_for(running: &Running) -> ureq::Agent {
    match &running.authority {
        None => agent(),
        Some(authority) => crate::client::agent_trusting(authority),
    }
}

/// The machine's clock, for certificates.
#[expect(clippy::disallowed_methods, reason = "TLS clients check certificates against the machine's clock")]
fn machine_time() -> Time {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock after 1970");
    Time(since.as_micros() as i64)
}
