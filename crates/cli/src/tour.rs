//! `keyark tour`: the main job from beginning to end in a temporary folder: make keys, lose everything, get it back.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use clap::parser::ArgMatches;
use clap::{Arg, Command};
use keyark_api::auth::{PasswordChange, TokenCreate};
use keyark_api::backupkeys::{BackupKeyCheck, BackupKeyCreate, BackupKeyDownload};
use keyark_api::backups::{BackupCreate, BackupDownload, BackupGet};
use keyark_api::client::Client;
use keyark_api::crypto::{Decrypt, Encrypt, Encrypted, OneOrMany};
use keyark_api::domains::DomainCreate;
use keyark_api::keys::{KeyCreate, KeyList};
use keyark_api::{Endpoint, EndpointInfo};
use keyark_backup::Progress;
use keyark_server::recover::{Origin, Recovery, recover};
use keyark_server::{Host, Settings};

use crate::failure::Failure;
use crate::profile::Connection;
use crate::{clock, output, progress, tls};

const PASSWORD: &str = "a tour's own password";
const DOMAINS: [&str; 3] = ["payments", "archive", "research"];
/// Requests under way at once while keys are made.
const HANDS: u32 = 16;

pub fn command() -> Command {
    Command::new("tour")
        .about("Shows the main job in a temporary folder: makes keys, loses the machine, brings everything back")
        .arg(
            Arg::new("keys")
                .long("keys")
                .value_name("NUMBER")
                .default_value("10000")
                .value_parser(clap::value_parser!(u32).range(3..=10_000_000))
                .help("How many keys"),
        )
}

pub fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let keys = matches.get_one::<u32>("keys").copied().unwrap_or(10_000);
    let place = std::env::temp_dir().join(format!("keyark-tour-{}", std::process::id()));
    std::fs::create_dir(&place).map_err(Failure::at(&place))?;
    let outcome = tour(&place, keys);
    let _ = std::fs::remove_dir_all(&place);
    outcome
}

/// A server of this process, stopped when dropped.
struct Running {
    url: String,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
    first_password: Option<String>,
}

impl Running {
    fn start(data: &Path) -> Result<Running, Failure> {
        let settings = Settings {
            data: data.to_owned(),
            listen: std::net::SocketAddr::from(([127, 0, 0, 1], 0)),
            disk_reserve: 0,
            ..Settings::default()
        };
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
            let Ok(runtime) = runtime else { return };
            runtime.block_on(async {
                match Host::start(settings, Arc::new(clock::now)).await {
                    Err(e) => drop(tell.send(Err(Failure::Server(e.to_string())))),
                    Ok(host) => {
                        let password = host.first_password.as_ref().map(|p| p.expose().clone());
                        let _ = tell.send(Ok((host.server.address, password)));
                        host.run(async { drop(stopped.await) }).await;
                    }
                }
            });
        });
        let (address, first_password) =
            told.recv().map_err(|_| Failure::Server("the server did not start".into()))??;
        Ok(Running { url: format!("https://{address}"), stop: Some(stop), thread: Some(thread), first_password })
    }

    fn client(&self, data: &Path) -> Result<Client, Failure> {
        let connection = Connection { url: self.url.clone(), ca: Some(data.join("ca.pem")), ..Connection::default() };
        tls::client(&connection)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn login(client: &mut Client, domain: Option<&str>) -> Result<(), Failure> {
    client.set_token(None);
    let issued = client.call(&TokenCreate {
        username: Some("admin".into()),
        password: Some(PASSWORD.into()),
        domain: domain.map(str::to_owned),
        ..TokenCreate::default()
    })?;
    client.set_token(Some(issued.jwt));
    Ok(())
}

/// A ciphertext of a key, to be opened after everything was lost.
struct Witness {
    domain: &'static str,
    encrypted: Encrypted,
}

fn tour(place: &Path, keys: u32) -> Result<(), Failure> {
    let (here, there) = (place.join("first-machine"), place.join("second-machine"));
    let lines = Lines;
    let server = lines.timed("a server with TLS and its own CA", || Running::start(&here))?;
    let mut client = server.client(&here)?;
    client.call(&PasswordChange {
        username: "admin".into(),
        password: server.first_password.clone().unwrap_or_default(),
        new_password: PASSWORD.into(),
        auth_domain: None,
    })?;
    login(&mut client, None)?;
    for name in DOMAINS {
        client.call(&DomainCreate { name: name.into(), ..DomainCreate::default() })?;
    }
    lines.timed(&format!("{keys} keys in {} domains, each on disk", DOMAINS.len()), || {
        make_keys(&server, &here, keys)
    })?;
    let witnesses = lines.timed("data encrypted with some of them", || witnesses(&mut client))?;

    login(&mut client, None)?;
    let key = client.call(&BackupKeyCreate::default())?;
    let exported = client.call(&BackupKeyDownload { id: key.id.clone(), ..BackupKeyDownload::default() })?;
    let passphrase = exported.passphrase.clone().unwrap_or_default();
    client.call(&BackupKeyCheck { file: exported.file.clone(), password: passphrase.clone() })?;
    lines.say("the backup key exported, and the file proven to open");
    let archive = place.join("backup.keyark");
    let backup = lines.timed("a system backup, read back and verified", || take(&client))?;
    download(&client, &backup.id, &archive)?;
    lines.say(&format!(
        "{} bytes, {} a key, copied away with the key's file",
        backup.size,
        backup.size / u64::from(keys)
    ));
    drop(server);
    lines.timed("the first machine is gone", || std::fs::remove_dir_all(&here).map_err(Failure::at(&here)))?;

    let settings = Settings { data: there.clone(), disk_reserve: 0, ..Settings::default() };
    let recovered = lines.timed("recovered on an empty machine: every body opened, digests compared", || {
        let recovery = Recovery {
            settings: &settings,
            from: Origin::Archive(&archive),
            key_file: &exported.file,
            passphrase: &passphrase,
            now: clock::now(),
        };
        recover(&recovery, &Progress::default()).map_err(|e| Failure::Damaged(e.to_string()))
    })?;
    let server = lines.timed("the second machine serves", || Running::start(&there))?;
    let mut client = server.client(&there)?;
    let opened = lines.timed("yesterday's data opened with the restored keys", || open_all(&mut client, &witnesses))?;
    login(&mut client, Some(DOMAINS[0]))?;
    let total = client.call(&KeyList::default())?.total;
    output::print(&format!(
        "\nProved: {} records restored ({total} keys in {}), {opened} of {} ciphertexts opened, \
         with the old password of admin, without the machine that made the backup.\n",
        recovered.built.loaded.records,
        DOMAINS[0],
        witnesses.len(),
    ))
}

/// Creates the keys over HTTPS with several requests under way.
fn make_keys(server: &Running, data: &Path, keys: u32) -> Result<(), Failure> {
    let (next, bar) = (AtomicU32::new(0), progress::work("keys"));
    let failures: Vec<Failure> = std::thread::scope(|scope| {
        let work = || -> Result<(), Failure> {
            let mut client = server.client(data)?;
            let mut current = None;
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= keys {
                    return Ok(());
                }
                // Each third of the keys goes into its own domain.
                let domain = DOMAINS[(u64::from(n) * 3 / u64::from(keys)) as usize];
                if current != Some(domain) {
                    login(&mut client, Some(domain))?;
                    current = Some(domain);
                }
                client.call(&KeyCreate { name: Some(format!("key-{n:07}")), ..KeyCreate::default() })?;
                progress::set(&bar, u64::from(n) + 1, u64::from(keys));
            }
        };
        let hands: Vec<_> = (0..HANDS.min(keys)).map(|_| scope.spawn(work)).collect();
        hands
            .into_iter()
            .filter_map(|h| h.join().unwrap_or_else(|_| Err(Failure::Server("a worker ended".into()))).err())
            .collect()
    });
    bar.finish_and_clear();
    failures.into_iter().next().map_or(Ok(()), Err)
}

fn witnesses(client: &mut Client) -> Result<Vec<Witness>, Failure> {
    let mut all = Vec::new();
    for domain in DOMAINS {
        login(client, Some(domain))?;
        for key in client.call(&KeyList { limit: Some(20), ..KeyList::default() })?.resources {
            let request = Encrypt { id: key.id, plaintext: Some(text(domain)), ..Encrypt::default() };
            if let OneOrMany::One(encrypted) = client.call(&request)? {
                all.push(Witness { domain, encrypted });
            }
        }
    }
    Ok(all)
}

fn text(domain: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(format!("what {domain} wrote before the fire"))
}

fn open_all(client: &mut Client, witnesses: &[Witness]) -> Result<usize, Failure> {
    let (mut opened, mut domain) = (0, None);
    for witness in witnesses {
        if domain != Some(witness.domain) {
            login(client, Some(witness.domain))?;
            domain = Some(witness.domain);
        }
        let e = &witness.encrypted;
        let request = Decrypt {
            id: e.id.to_string(),
            version: Some(i64::from(e.version)),
            ciphertext: e.ciphertext.clone(),
            iv: e.iv.map(|iv| iv.to_string()),
            tag: e.tag.map(|tag| tag.to_string()),
            mode: e.mode.clone().map(Into::into),
            ..Decrypt::default()
        };
        match client.call(&request)? {
            OneOrMany::One(d) if d.plaintext.as_deref() == Some(text(witness.domain).as_str()) => opened += 1,
            _ => return Err(Failure::Damaged(format!("the key {} did not give its data back", e.id))),
        }
    }
    Ok(opened)
}

fn take(client: &Client) -> Result<keyark_api::backups::Backup, Failure> {
    let begun = client.call(&BackupCreate::default())?;
    loop {
        let now = client.call(&BackupGet { id: begun.id.clone(), position: None })?;
        match now.status.as_str() {
            "In Progress" => std::thread::park_timeout(std::time::Duration::from_millis(20)),
            "Completed" => return Ok(now),
            other => return Err(Failure::Server(format!("the backup ended as {other}"))),
        }
    }
}

fn download(client: &Client, id: &str, path: &Path) -> Result<(), Failure> {
    let endpoint = EndpointInfo::of::<BackupDownload>();
    debug_assert_eq!(endpoint.id, BackupDownload::ID);
    let mut answer = client.download(&endpoint, serde_json::json!({ "id": id }), None)?;
    let mut file = std::fs::File::create_new(path).map_err(Failure::at(path))?;
    std::io::copy(&mut answer.reader, &mut file).and_then(|_| file.sync_all()).map_err(Failure::at(path))
}

/// What is shown: a line for each step, with its time.
struct Lines;

impl Lines {
    fn timed<T>(&self, what: &str, work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
        let started = Instant::now();
        let done = work()?;
        output::print(&format!("{:>9.3} s  {what}\n", started.elapsed().as_secs_f64()))?;
        Ok(done)
    }

    fn say(&self, what: &str) {
        let _ = output::print(&format!("{:>9}    {what}\n", ""));
    }
}
