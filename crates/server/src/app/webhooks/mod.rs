//! Webhooks: records of root that say who is told of alarms.

pub mod deliver;
mod send;

use std::collections::BTreeSet;
use std::net::IpAddr;

use keyark_api::endpoint::NoBody;
use keyark_api::webhooks::{
    Webhook, WebhookCreate, WebhookDelete, WebhookGet, WebhookList, WebhookTest, WebhookTested, WebhookUpdate,
};
use keyark_api::{Page, PageQuery};
use keyark_backup::destination::Credentials;
use keyark_crypto::{SecretBytes, random};
use keyark_model::DomainId;
use keyark_model::webhook::WebhookHeader;
use reqwest::Url;

pub use self::deliver::Webhooks;
use self::send::{Receiver, message};
use super::core::Core;
use super::ctx::{Ctx, check_name};
use super::error::{AppError, Result};
use super::records::Stored;
use super::{App, Handle, Reply};

type Hook = Stored<WebhookHeader>;

impl Core {
    /// By id or name.
    fn webhook_load(&self, id: &str) -> Result<Hook> {
        self.load_any(DomainId::ROOT, id)
    }

    /// Where it is, and what signs for it.
    fn webhook_receiver(&self, stored: &Hook) -> Result<Receiver> {
        let body = Credentials::from_bytes(&self.open_body(stored)?);
        let Credentials { id: url, secret } = body.ok_or_else(|| AppError::internal("damaged webhook"))?;
        Ok(Receiver { id: stored.id(), url: url.parse().map_err(AppError::internal)?, secret })
    }
}

/// An address that may be sent to.
fn url_of(text: &str, plain_allowed: bool) -> Result<Url> {
    let wrong = |what: &str| AppError::invalid(format!("url: {what}; write it like https://alerts.example.com/keyark"));
    let url: Url = text.trim().parse().map_err(|_| wrong("this is no URL"))?;
    let host = url.host_str().ok_or_else(|| wrong("it names no host"))?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let here = host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    match url.scheme() {
        "https" => {}
        "http" if here && plain_allowed => {}
        "http" if here => return Err(wrong("plain http needs the setting webhooks_http")),
        "http" => return Err(wrong("plain http is for this machine alone")),
        _ => return Err(wrong("it is not https")),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("user and password do not belong there; what is sent is signed"));
    }
    Ok(url)
}

/// What of an address may be shown.
fn address_of(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// A fresh secret, as text for a receiver's settings.
fn secret_new() -> SecretBytes {
    SecretBytes::new(base64_simd::URL_SAFE_NO_PAD.encode_to_string(random::secret::<32>().expose()).into_bytes())
}

fn text_of(secret: &SecretBytes) -> String {
    String::from_utf8_lossy(secret.expose()).into_owned()
}

fn shown(ctx: &Ctx, stored: &Hook) -> Webhook {
    let h = &stored.header;
    let (error, next_try) = ctx.app.webhooks.told(stored.id());
    Webhook {
        id: stored.id().to_string(),
        name: h.name.clone(),
        address: h.address.clone(),
        disabled: h.disabled,
        created_at: h.created_at,
        updated_at: h.updated_at,
        delivered: h.delivered,
        delivered_at: h.delivered_at,
        error,
        next_try,
        secret: None,
    }
}

impl Handle<WebhookCreate> for App {
    async fn handle(&self, ctx: &Ctx, r: WebhookCreate) -> Result<Reply<Webhook>> {
        check_name("a webhook has a name", &r.name)?;
        let url = url_of(&r.url, self.settings.webhooks_http)?;
        let body = Credentials { id: url.to_string(), secret: secret_new() };
        let header = WebhookHeader {
            name: r.name,
            address: address_of(&url),
            disabled: r.disabled,
            created_at: ctx.now,
            updated_at: ctx.now,
            known: BTreeSet::new(),
            delivered: 0,
            delivered_at: None,
        };
        let id = Core::new_id(ctx.now);
        let write = ctx.core.put(DomainId::ROOT, id, 1, &header, body.to_bytes().expose())?;
        ctx.commit(id.to_string(), vec![], vec![write]).await?;
        let stored = ctx.core.load(DomainId::ROOT, id)?;
        Ok(Reply::json(Webhook { secret: Some(text_of(&body.secret)), ..shown(ctx, &stored) }).at(1))
    }
}

impl Handle<WebhookList> for App {
    async fn handle(&self, ctx: &Ctx, r: WebhookList) -> Result<Reply<Page<Webhook>>> {
        let all = ctx.core.load_all(DomainId::ROOT)?.iter().map(|h| shown(ctx, h)).collect();
        Ok(Reply::json(PageQuery::from_wire(r.skip, r.limit).of(all)))
    }
}

impl Handle<WebhookGet> for App {
    async fn handle(&self, ctx: &Ctx, r: WebhookGet) -> Result<Reply<Webhook>> {
        let stored = ctx.core.webhook_load(&r.id)?;
        Ok(Reply::json(shown(ctx, &stored)).at(stored.revision()))
    }
}

impl Handle<WebhookUpdate> for App {
    async fn handle(&self, ctx: &Ctx, r: WebhookUpdate) -> Result<Reply<Webhook>> {
        let stored = ctx.core.webhook_load(&r.id)?;
        ctx.check_match(stored.revision())?;
        let Receiver { url: before, secret, .. } = ctx.core.webhook_receiver(&stored)?;
        let url = r.url.as_deref().map(|url| url_of(url, self.settings.webhooks_http)).transpose()?;
        let mut header = WebhookHeader { updated_at: ctx.now, ..stored.header.clone() };
        if url.as_ref().is_some_and(|url| *url != before) {
            header.known.clear();
        }
        let url = url.unwrap_or(before);
        header.address = address_of(&url);
        header.disabled = r.disabled.unwrap_or(header.disabled);
        let secret = if r.rotate_secret { secret_new() } else { secret };
        let body = Credentials { id: url.to_string(), secret };
        let write =
            ctx.core.put(DomainId::ROOT, stored.id(), stored.revision() + 1, &header, body.to_bytes().expose())?;
        ctx.commit(stored.id().to_string(), vec![], vec![write]).await?;
        self.webhooks.forget(stored.id());
        let stored = ctx.core.load(DomainId::ROOT, stored.id())?;
        let secret = r.rotate_secret.then(|| text_of(&body.secret));
        Ok(Reply::json(Webhook { secret, ..shown(ctx, &stored) }).at(stored.revision()))
    }
}

impl Handle<WebhookDelete> for App {
    async fn handle(&self, ctx: &Ctx, r: WebhookDelete) -> Result<Reply<NoBody>> {
        let stored = ctx.core.webhook_load(&r.id)?;
        ctx.check_match(stored.revision())?;
        ctx.commit(stored.id().to_string(), vec![], vec![ctx.core.delete(&stored)]).await?;
        self.webhooks.forget(stored.id());
        Ok(Reply::none())
    }
}

impl Handle<WebhookTest> for App {
    async fn handle(&self, ctx: &Ctx, r: WebhookTest) -> Result<Reply<WebhookTested>> {
        let stored = ctx.core.webhook_load(&r.id)?;
        ctx.check_match(stored.revision())?;
        ctx.core.may_go_out()?;
        let receiver = ctx.core.webhook_receiver(&stored)?;
        let events = vec![serde_json::json!({ "event": "test" })];
        let sent = receiver.send(&message(&ctx.core, stored.id(), "test", ctx.now, events), ctx.now).await;
        let error = sent.err().unwrap_or_default();
        Ok(Reply::json(WebhookTested { ok: error.is_empty(), error }))
    }
}

#[cfg(test)]
mod tests {
    use super::{address_of, url_of};

    #[test]
    fn only_what_nobody_reads_on_the_way_is_an_address() {
        for good in ["https://alerts.example.com/x?token=1", "https://10.0.0.1:8443", " https://[2001:db8::1]/ "] {
            assert!(url_of(good, false).is_ok(), "{good}");
        }
        for here in ["http://127.0.0.1:80/x", "http://localhost/x", "http://[::1]:9/x"] {
            assert!(url_of(here, true).is_ok() && url_of(here, false).is_err(), "{here}");
        }
        for bad in [
            "http://alerts.example.com/",
            "ftp://x/",
            "alerts",
            "",
            "https://u:p@x/",
            "https://u@x/",
            "http://10.0.0.1",
        ] {
            assert!(url_of(bad, true).is_err(), "{bad}");
        }
        let shown = |url: &str| address_of(&url_of(url, true).unwrap());
        assert_eq!(shown("https://a.example:8443/hooks/SECRET?k=SECRET"), "https://a.example:8443");
        assert_eq!(shown("http://[::1]:9/x"), "http://[::1]:9");
    }
}
