//! What programs in the harness's room go by on their way out: variables with the proxy's address and the certificates to trust.

const PROXY: &str = "http://127.0.0.1:3128";
/// What the agent runs on its own loopback, and the model gateway there, are not the proxy's business.
const WITHOUT_PROXY: &str = "localhost,127.0.0.1,::1";

/// Each tool set asks a variable of its own for the file of authorities that takes the place of its built-in ones.
const BUNDLE_VARIABLES: [&str; 14] = [
    "AWS_CA_BUNDLE",
    "CARGO_HTTP_CAINFO",
    "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
    "CURL_CA_BUNDLE",
    "DENO_CERT",
    "GIT_SSL_CAINFO",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "HTTPLIB2_CA_CERTS",
    "NIX_SSL_CERT_FILE",
    "PERL_LWP_SSL_CA_FILE",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
    "npm_config_cafile",
];

/// The variables for a file with all authorities, and one with at least the sandbox's own.
pub(super) fn variables(
    bundle: &'static str,
    authority: &'static str,
) -> impl Iterator<Item = (&'static str, &'static str)> {
    let proxies = ["HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"];
    let exceptions = ["NO_PROXY", "no_proxy"];
    proxies
        .map(|name| (name, PROXY))
        .into_iter()
        .chain(exceptions.map(|name| (name, WITHOUT_PROXY)))
        .chain(BUNDLE_VARIABLES.map(move |name| (name, bundle)))
        // Node adds to its own, and reads nothing of the proxy's variables unless told to.
        .chain([("NODE_EXTRA_CA_CERTS", authority), ("NODE_USE_ENV_PROXY", "1")])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_to_the_room_s_own_loopback_do_not_go_through_the_proxy() {
        let of = |wanted: &str| {
            variables("/bundle", "/authority").find(|(name, _)| *name == wanted).unwrap().1
        };
        assert_eq!(of("http_proxy"), of("HTTPS_PROXY"));
        assert!(of("no_proxy").split(',').any(|exception| exception == "127.0.0.1"));
        assert!(of("NO_PROXY").split(',').any(|exception| exception == "localhost"));
    }
}
