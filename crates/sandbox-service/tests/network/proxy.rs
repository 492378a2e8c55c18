//! Programs that ask for the proxy, and what the room tells them of it.

use crate::room::{AUTHORITY, Sandbox};

#[tokio::test]
async fn programs_that_know_proxies_ask_for_it_and_say_what_they_want() {
    let Some(mut sandbox) = Sandbox::start().await else { return };
    let said = sandbox
        .run("curl -sS http://api.example/a?b=c; curl -sS http://127.0.0.1:4000/v1/models")
        .await;
    assert_eq!(said, "hellohello");
    // The models' address is not asked for through the proxy.
    let expected = ["GET http://api.example/a?b=c HTTP/1.1", "GET /v1/models HTTP/1.1"];
    assert_eq!(sandbox.asked(), expected);

    sandbox.run("curl -sS https://api.example/; git ls-remote https://git.example/a.git").await;
    let expected = ["CONNECT api.example:443 HTTP/1.1", "CONNECT git.example:443 HTTP/1.1"];
    assert_eq!(sandbox.asked(), expected);
    sandbox.stop().await;
}

#[tokio::test]
async fn the_sandbox_s_authority_is_trusted_after_the_machine_s_own() {
    let Some(mut sandbox) = Sandbox::start().await else { return };
    let different = "for name in SSL_CERT_FILE CURL_CA_BUNDLE GIT_SSL_CAINFO REQUESTS_CA_BUNDLE PIP_CERT npm_config_cafile \
        CARGO_HTTP_CAINFO AWS_CA_BUNDLE DENO_CERT; do cmp ${!name} /etc/ssl/certs/ca-certificates.crt; done";
    assert_eq!(sandbox.run(different).await, "");
    let bundle = sandbox.run("cat $SSL_CERT_FILE").await;
    assert!(bundle.ends_with(&format!("\n{}", AUTHORITY.trim())), "{bundle}");
    assert!(bundle.matches("BEGIN CERTIFICATE").count() > 1, "the machine's own are there too");
    assert_eq!(sandbox.run("cat $NODE_EXTRA_CA_CERTS").await, AUTHORITY.trim());
    // What is told to the room's programs cannot be changed from inside.
    assert!(sandbox.run("echo mine > $SSL_CERT_FILE").await.contains("Read-only"));
    sandbox.stop().await;
}

/// Of the tools that this machine has, each is asked to fetch something, with the proxy's variables and without.
#[tokio::test]
async fn every_tool_arrives_at_the_door_whether_it_is_told_of_a_proxy_or_not() {
    let tools = [
        ("curl", "curl -s https://HOST/"),
        ("wget", "wget -q --tries=1 https://HOST/"),
        ("git", "git ls-remote https://HOST/a.git"),
        ("npm", "npm view left-pad --registry=https://HOST/ --fetch-retries=0"),
        ("pip3", "pip3 download --no-input --retries 0 --index-url https://HOST/simple a-package"),
        ("python3", "python3 -c 'import urllib.request as u; u.urlopen(\"https://HOST/\")'"),
        ("node", "node -e 'fetch(\"https://HOST/\")'"),
        ("perl", "perl -MHTTP::Tiny -e 'HTTP::Tiny->new->get(\"http://HOST:443/\")'"),
        ("bash", "exec 3<>/dev/tcp/HOST/443; echo >&3; cat <&3"),
    ];
    let Some(mut sandbox) = Sandbox::start().await else { return };
    for unset in ["", "unset ${!http*} ${!HTTP*} ${!NODE_USE*};"] {
        let begin = |(name, command): (&str, &str)| {
            let command = command.replace("HOST", &format!("{name}.example"));
            format!("command -v {name} > /dev/null && echo {name} && ({command}) &> /dev/null &\n")
        };
        let all: String = tools.map(begin).concat();
        let used = sandbox.run(&format!("{unset} {all} wait")).await;
        let asked = sandbox.asked();
        for name in used.lines() {
            let is_named = |line: &String| line.contains(&format!("{name}.example:443"));
            assert!(asked.iter().any(is_named), "{name} with {unset:?}: {asked:?}");
        }
        assert!(used.lines().count() > 4, "too few to tell: {used}");
    }
    sandbox.stop().await;
}
