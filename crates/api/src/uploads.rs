//! Uploads in parts: a large archive that breaks off goes on where it ended.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::endpoint;
use crate::endpoint::NoBody;

/// An upload under way. It ends with `backup upload --upload-id`, or with the server's next start.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Upload {
    pub id: String,
    /// Bytes that are here: where the next part starts.
    pub offset: u64,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UploadCreate {}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UploadGet {
    pub id: String,
}

/// The body is the next part.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UploadAppend {
    pub id: String,
    /// Where this part starts; it must be where the last one ended.
    pub offset: u64,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UploadDelete {
    pub id: String,
}

endpoint! {
    upload_create: UploadCreate => Upload, POST "/v1/uploads", Json 201, DomainRestore, "uploads create", "Starts an upload in parts.";
    upload_get: UploadGet => Upload, GET "/v1/uploads/{id}", Query 200, DomainRestore, "uploads get", "Shows how much of an upload is here.";
    upload_append: UploadAppend => Upload, PATCH "/v1/uploads/{id}", File 200, DomainRestore, "uploads append", "Adds the next part.";
    upload_delete: UploadDelete => NoBody, DELETE "/v1/uploads/{id}", Query 204, DomainRestore, "uploads delete", "Gives an upload up.";
}
