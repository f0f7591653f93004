//! The description of the API, made from its code.

use std::sync::LazyLock;

use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::path::Operation;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{ComponentsBuilder, Ref};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder};
use utoipa::{PartialSchema as _, ToSchema as _};

use super::described;
use crate::api::{ApiErrorKind, Problem};

/// The description: OpenAPI, as JSON.
#[must_use]
pub fn document() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        let text = serde_json::to_string_pretty(&built());
        // Nothing in it but texts and lists.
        text.unwrap_or_default() + "\n"
    });
    &TEXT
}

fn built() -> OpenApi {
    let license = LicenseBuilder::new().name(env!("CARGO_PKG_LICENSE"));
    let info = InfoBuilder::new()
        .title("fos-server")
        .version("1")
        .description(Some(ABOUT))
        .license(Some(license.build()));
    let components = ComponentsBuilder::new()
        .schema(Problem::name(), Problem::schema())
        .schema(ApiErrorKind::name(), ApiErrorKind::schema())
        .security_scheme(
            TOKEN,
            SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build()),
        );
    let mut document = OpenApiBuilder::new()
        .info(info.build())
        .components(Some(components.build()))
        .security(Some([SecurityRequirement::new(TOKEN, [""; 0])]))
        .build();
    document.merge(described().into_openapi());
    for item in document.paths.paths.values_mut() {
        let operations = [
            &mut item.get,
            &mut item.put,
            &mut item.post,
            &mut item.patch,
            &mut item.delete,
        ];
        for operation in operations.into_iter().flatten() {
            add_problem(operation);
        }
    }
    document
}

/// Anything may go wrong anywhere, and is told in one way.
fn add_problem(operation: &mut Operation) {
    let schema = Ref::from_schema_name(Problem::name());
    let content = ContentBuilder::new().schema(Some(schema)).build();
    let response = ResponseBuilder::new()
        .description("Why it was not done")
        .content("application/problem+json", content);
    let responses = &mut operation.responses.responses;
    responses.insert("default".to_owned(), response.build().into());
}

const TOKEN: &str = "token";

const ABOUT: &str = "Deploys disk images by multicast. Programs show a token (`fos-server token add`) as \
    `Authorization: Bearer TOKEN`; the command line asks the same over the socket `server.sock` in the server's data \
    directory, without one. Each operation names the role that it needs; admin may do what operator may, and that \
    what viewer may. Whatever is not done is answered by a problem (RFC 9457) whose `code` says what kind it is, and \
    whose `detail` says to people what is wrong and what to do. Times are UTC.";

#[cfg(test)]
mod tests {
    use super::*;

    /// `FOS_UPDATE=1 cargo test -p fos-server openapi` writes it.
    #[test]
    fn the_openapi_document_in_docs_is_fresh() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
        if std::env::var_os("FOS_UPDATE").is_some() {
            std::fs::write(path, document()).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            written == document(),
            "docs/openapi.json is stale: write it with FOS_UPDATE=1 cargo test -p fos-server openapi"
        );
    }

    #[test]
    fn every_operation_names_its_role_and_its_answers() {
        let document: serde_json::Value = serde_json::from_str(document()).unwrap();
        let paths = document["paths"].as_object().unwrap();
        let mut count = 0;
        for (path, item) in paths {
            assert!(path.starts_with("/api/v1/"), "{path}");
            for (method, operation) in item.as_object().unwrap() {
                count += 1;
                let about = operation["description"].as_str().unwrap_or_default();
                assert!(about.contains("Role: "), "{method} {path}: {operation}");
                let responses = operation["responses"].as_object().unwrap();
                assert!(responses.contains_key("default"), "{method} {path}");
                assert!(responses.len() > 1, "{method} {path}");
                // Its parts of the path are those that are described.
                let parameters = operation["parameters"].as_array();
                let parameters = parameters.into_iter().flatten();
                let described = parameters.filter(|parameter| parameter["in"] == "path");
                let described: Vec<_> = described
                    .map(|parameter| format!("{{{}}}", parameter["name"].as_str().unwrap()))
                    .collect();
                let parts = path.split('/').filter(|part| part.starts_with('{'));
                assert_eq!(described, parts.collect::<Vec<_>>(), "{method} {path}");
            }
        }
        assert!(count > 20, "{count}");
        // Whatever is referred to is there.
        let text = document.to_string();
        for part in text.split("\"#/components/schemas/").skip(1) {
            let name = part.split('"').next().unwrap();
            assert!(
                document["components"]["schemas"][name].is_object(),
                "{name}"
            );
        }
    }
}
