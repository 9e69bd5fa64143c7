//! Deleting where versions are kept and locked (rules D5): what is deleted is gone in every version, or it is told until when it stays.

use object_store::HeaderMap;
use object_store::path::Path;
use reqwest::Method;

use super::signed::{Ask, date_of, element, reason, refused, server_time};
use super::{Dialect, Objects, other};
use crate::destination::DestinationError;

impl Objects {
    /// Whether nothing forbids deleting an object, else `Locked`; and its version, where versions are kept.
    pub(super) async fn head(
        &self,
        name: &str,
        path: &Path,
        version: Option<&str>,
    ) -> Result<Option<String>, DestinationError> {
        let query = version.map(|id| (self.words().version_query, id));
        let there = self.request(Method::HEAD, path, Ask { query: query.as_slice(), ..Ask::default() }).await?;
        match there.status().is_success() {
            true => free(self.words(), name, there.headers()),
            false => Err(refused(name, there).await),
        }
    }

    fn words(&self) -> &'static Words {
        match self.dialect {
            Dialect::S3(_) => &S3,
            Dialect::Azure(_) => &AZURE,
        }
    }

    /// Removes an object in all its versions.
    pub(super) async fn remove(&self, name: &str, path: &Path) -> Result<(), DestinationError> {
        match (self.head(name, path, None).await, &self.dialect) {
            (Ok(None), _) => self.remove_one(name, path, None).await,
            (Ok(Some(_)), Dialect::S3(_)) => self.remove_versions(name, path).await,
            // Deleting makes it an older version. A name is written once, so there are no others.
            (Ok(Some(version)), Dialect::Azure(_)) => {
                self.remove_one(name, path, None).await?;
                self.remove_one(name, path, Some(&version)).await
            }
            // It may be hidden, with its versions still there.
            (Err(DestinationError::NotFound(_)), Dialect::S3(_)) => self.remove_versions(name, path).await,
            (Err(e), _) => Err(e),
        }
    }

    /// Deleting what is not there succeeds in S3, and hides it where versions are kept.
    async fn remove_versions(&self, name: &str, path: &Path) -> Result<(), DestinationError> {
        let mut found = false;
        loop {
            let query = [("versions", ""), ("prefix", path.as_ref())];
            let listed = self.request(Method::GET, &Path::default(), Ask { query: &query, ..Ask::default() }).await?;
            if !listed.status().is_success() {
                return Err(refused(name, listed).await);
            }
            let page = listed.text().await.map_err(other)?;
            let all = versions(&page, path.as_ref());
            for id in &all {
                self.remove_one(name, path, Some(id)).await?;
            }
            found |= !all.is_empty();
            match (found, all.is_empty() || element(&page, "IsTruncated") != Some("true")) {
                (true, true) => return Ok(()),
                (false, true) => return Err(DestinationError::NotFound(name.into())),
                (_, false) => {}
            }
        }
    }

    async fn remove_one(&self, name: &str, path: &Path, version: Option<&str>) -> Result<(), DestinationError> {
        let query = version.map(|id| (self.words().version_query, id));
        let ask = Ask { query: query.as_slice(), ..Ask::default() };
        let gone = self.request(Method::DELETE, path, ask).await?;
        match gone.status().as_u16() {
            200..=299 | 404 => Ok(()),
            // A lock and a missing right look the same.
            403 | 409 => {
                let refusal = DestinationError::Denied(reason(name, gone).await.1);
                self.head(name, path, version).await.and(Err(refusal))
            }
            _ => Err(refused(name, gone).await),
        }
    }
}

/// What servers call the same things.
struct Words {
    version_query: &'static str,
    version: &'static str,
    /// And what it says while there is one.
    legal_hold: (&'static str, &'static str),
    until: &'static str,
}

const S3: Words = Words {
    version_query: "versionId",
    version: "x-amz-version-id",
    legal_hold: ("x-amz-object-lock-legal-hold", "ON"),
    until: "x-amz-object-lock-retain-until-date",
};

const AZURE: Words = Words {
    version_query: "versionid",
    version: "x-ms-version-id",
    legal_hold: ("x-ms-legal-hold", "true"),
    until: "x-ms-immutability-policy-until-date",
};

/// The version of an object, unless its headers say that it is locked.
fn free(words: &Words, name: &str, headers: &HeaderMap) -> Result<Option<String>, DestinationError> {
    let text = |field: &str| headers.get(field).and_then(|value| value.to_str().ok());
    let locked = |until| Err(DestinationError::Locked { name: name.into(), until });
    if text(words.legal_hold.0) == Some(words.legal_hold.1) {
        return locked(None);
    }
    match text(words.until).and_then(|date| date.parse().ok().or_else(|| date_of(date))) {
        Some(until) if until > server_time(headers)? => locked(Some(until)),
        _ => Ok(text(words.version).map(str::to_owned)),
    }
}

/// The ids of versions and of marks of deletion of one key, out of a list of S3; keys here have nothing that XML would write otherwise.
pub fn versions(page: &str, key: &str) -> Vec<String> {
    let mut ids = Vec::new();
    for tag in ["Version", "DeleteMarker"] {
        let (begin, end) = (format!("<{tag}>"), format!("</{tag}>"));
        let entries = page.split(&begin).skip(1).filter_map(|rest| rest.split_once(&end));
        let own = entries.filter(|(entry, _)| element(entry, "Key") == Some(key));
        ids.extend(own.filter_map(|(entry, _)| element(entry, "VersionId")).map(str::to_owned));
    }
    ids
}

#[cfg(test)]
mod tests {
    use super::versions;

    #[test]
    fn the_versions_of_one_key_are_found_among_those_of_others() {
        let entry = |tag: &str, key: &str, id: &str| {
            format!("<{tag}><ETag>&quot;e&quot;</ETag><Key>{key}</Key><VersionId>{id}</VersionId></{tag}>")
        };
        let page = [
            "<ListVersionsResult><Prefix>a/b</Prefix><IsTruncated>false</IsTruncated>".to_owned(),
            entry("DeleteMarker", "a/b", "3"),
            entry("Version", "a/b", "2"),
            entry("Version", "a/b", "null"),
            entry("Version", "a/b.c", "4"),
            "</ListVersionsResult>".to_owned(),
        ];
        assert_eq!(versions(&page.concat(), "a/b"), ["2", "null", "3"]);
        assert!(versions("<html>no list</html>", "a/b").is_empty());
    }
}
