//! Uploads in parts. A part is spooled first, so that a connection that breaks off adds nothing.

use std::fs::{File, OpenOptions};
use std::path::PathBuf;

use keyark_api::ErrorCode;
use keyark_api::endpoint::NoBody;
use keyark_api::uploads::{Upload, UploadAppend, UploadCreate, UploadDelete, UploadGet};
use keyark_crypto::random;
use keyark_model::Id;

use super::ctx::Ctx;
use super::error::{AppError, Result};
use super::{App, Handle, Reply};

impl Ctx {
    /// The file of an upload; its name says whose it is, so that nobody finds another's.
    fn upload_path(&self, id: &str) -> Result<PathBuf> {
        let id: Id = id.parse().map_err(|_| AppError::not_found("the upload"))?;
        Ok(self.app.folder.upload(&format!("{}-{}-{id}", self.domain()?, self.caller()?.user)))
    }

    /// The file of an upload that is under way.
    pub fn upload_find(&self, id: &str) -> Result<PathBuf> {
        let path = self.upload_path(id)?;
        if path.exists() { Ok(path) } else { Err(AppError::not_found("the upload")) }
    }
}

impl Handle<UploadCreate> for App {
    async fn handle(&self, ctx: &Ctx, _: UploadCreate) -> Result<Reply<Upload>> {
        let id = Id(random::uuid_v7(ctx.now)).to_string();
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(ctx.upload_path(&id)?)?;
        Ok(Reply::json(Upload { id, offset: 0 }))
    }
}

impl Handle<UploadGet> for App {
    async fn handle(&self, ctx: &Ctx, r: UploadGet) -> Result<Reply<Upload>> {
        let offset = std::fs::metadata(ctx.upload_find(&r.id)?)?.len();
        Ok(Reply::json(Upload { id: r.id, offset }))
    }
}

impl Handle<UploadAppend> for App {
    async fn handle(&self, ctx: &Ctx, r: UploadAppend) -> Result<Reply<Upload>> {
        let path = ctx.upload_find(&r.id)?;
        let part =
            ctx.request.file.clone().ok_or_else(|| AppError::new(ErrorCode::BadRequest, "the body is the part"))?;
        let limit = self.settings.largest_upload;
        let added = tokio::task::spawn_blocking(move || -> Result<u64> {
            let mut whole = OpenOptions::new().append(true).open(path)?;
            // Two parts for the same place: the second waits and then does not fit.
            whole.lock()?;
            let here = whole.metadata()?.len();
            if here != r.offset {
                return Err(AppError::conflict(format!("{here} bytes are here; send the part that starts there")));
            }
            let mut part = File::open(part)?;
            if here + part.metadata()?.len() > limit {
                return Err(AppError::new(ErrorCode::TooLarge, "the file is larger than this server takes"));
            }
            let copied = std::io::copy(&mut part, &mut whole).and_then(|n| whole.sync_all().map(|()| n));
            if copied.is_err() {
                // What was there before is kept, nothing of this part is.
                whole.set_len(here)?;
            }
            Ok(here + copied?)
        });
        let offset = added.await.map_err(AppError::internal)??;
        Ok(Reply::json(Upload { id: r.id, offset }))
    }
}

impl Handle<UploadDelete> for App {
    async fn handle(&self, ctx: &Ctx, r: UploadDelete) -> Result<Reply<NoBody>> {
        std::fs::remove_file(ctx.upload_find(&r.id)?)?;
        Ok(Reply::none())
    }
}
