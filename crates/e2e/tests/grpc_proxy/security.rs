//! TLS on both sides of a proxy, and whose rights count.

use super::*;

/// Certificates of one authority, and a member that asks for them.
struct Secure {
    dir: TempDir,
    member: Member,
    url: String,
}

impl Secure {
    fn start() -> Self {
        let (dir, authority) = (TempDir::new().unwrap(), Authority::new("inside"));
        put(dir.path(), "ca.pem", &authority.pem);
        authority.issue(dir.path(), "member", 1);
        authority.issue(dir.path(), "named", 2);
        authority.issue_nameless(dir.path(), "nameless", 3);
        let of_clients = Authority::new("outside");
        put(dir.path(), "clients-ca.pem", &of_clients.pem);
        of_clients.issue(dir.path(), "proxy", 4);
        of_clients.issue(dir.path(), "client", 5);
        let file = |name: &str| dir.path().join(name).display().to_string();
        let (url, plain) = (
            format!("https://127.0.0.1:{}", ports::free()),
            format!("http://127.0.0.1:{}", ports::free()),
        );
        let address: std::net::SocketAddr = plain.trim_start_matches("http://").parse().unwrap();
        let start = Start::new()
            .client_port(address.port())
            .with("listen-client-urls", Some(&format!("{plain},{url}")))
            .with("cert-file", Some(&file("member.pem")))
            .with("key-file", Some(&file("member.key")))
            .with("trusted-ca-file", Some(&file("ca.pem")))
            .with("client-cert-auth", None);
        let mut member = start.start();
        member.allow("The scheme of client url");
        member.allow("rejected connection");
        Self { dir, member, url }
    }

    fn file(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// How a proxy comes to the member.
    fn upstream(&self, name: &str) -> [String; 6] {
        [
            "--cert".to_owned(),
            self.file(&format!("{name}.pem")),
            "--key".to_owned(),
            self.file(&format!("{name}.key")),
            "--cacert".to_owned(),
            self.file("ca.pem"),
        ]
    }

    /// How it serves.
    fn downstream(&self) -> [String; 6] {
        [
            "--cert-file".to_owned(),
            self.file("proxy.pem"),
            "--key-file".to_owned(),
            self.file("proxy.key"),
            "--trusted-ca-file".to_owned(),
            self.file("clients-ca.pem"),
        ]
    }
}

/// Without a certificate but those of `tls`.
fn etcdctl(proxy: &Proxy, tls: &[&str], arguments: &[&str]) -> Output {
    let endpoint = format!("https://{}", proxy.address);
    let mut command = run::etcdctl_v3(&binaries::etcdctl(), &endpoint);
    run::run(
        command.args(["--command-timeout=3s", "--dial-timeout=2s"]).args(tls).args(arguments),
        "",
    )
}

#[test]
fn tls_is_spoken_on_both_sides() {
    let secure = Secure::start();
    let flags = [secure.upstream("nameless"), secure.downstream()].concat();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let proxy = Proxy::start(&secure.url, &flags);
    let (cert, key, ca) =
        (secure.file("client.pem"), secure.file("client.key"), secure.file("clients-ca.pem"));
    let known = ["--cert", &cert, "--key", &key, "--cacert", &ca];
    let output = etcdctl(&proxy, &known, &["put", "a", "1"]);
    assert_eq!((output.exit, output.stdout.as_str()), (Some(0), "OK\n"), "{output:?}");
    // It has come to the member.
    let inside = harness::client_of(&secure.member);
    let found = runtime().block_on(inside.range(range_of("a"))).unwrap();
    assert_eq!(found.kvs[0].value, "1");
    // Whoever shows no certificate, or one of another authority, is not let in.
    let output = etcdctl(&proxy, &["--cacert", &ca], &["get", "a"]);
    assert_ne!(output.exit, Some(0), "{output:?}");
    let (cert, key) = (secure.file("named.pem"), secure.file("named.key"));
    let output = etcdctl(&proxy, &["--cert", &cert, "--key", &key, "--cacert", &ca], &["get", "a"]);
    assert_ne!(output.exit, Some(0), "{output:?}");
    assert!(!output.stdout.contains('1'), "{output:?}");
    // It reaches itself the same way: that is part of its health.
    if !harness::has_curl() {
        return;
    }
    let (cert, key) = (secure.file("client.pem"), secure.file("client.key"));
    let mut curl = std::process::Command::new("curl");
    curl.args(["--silent", "--cert", &cert, "--key", &key, "--cacert", &ca]);
    let output = run::run(curl.arg(format!("https://{}/proxy/health", proxy.address)), "");
    assert_eq!(output.stdout, "{\"health\":\"true\",\"reason\":\"\"}", "{output:?}");
}

#[test]
fn a_certificate_with_a_common_name_is_not_taken_to_the_members() {
    let secure = Secure::start();
    let flags = secure.upstream("named");
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let output = Proxy::run(&secure.url, &flags).wait(PATIENCE);
    assert_eq!(output.exit, Some(1), "{output:?}");
    assert!(output.stderr.contains("cert has non empty Common Name (named)"), "{output:?}");
    // Without authority: the member is not believed, and nothing is served.
    let (cert, key) = (secure.file("nameless.pem"), secure.file("nameless.key"));
    let proxy = Proxy::start(&secure.url, &["--cert", &cert, "--key", &key]);
    let error = runtime().block_on(proxy.client().put(put_of("a", "1"))).unwrap_err();
    assert!(error.to_string().contains("no endpoint can be reached"), "{error}");
    drop(proxy);
    let proxy =
        Proxy::start(&secure.url, &["--cert", &cert, "--key", &key, "--insecure-skip-tls-verify"]);
    runtime().block_on(proxy.client().put(put_of("a", "1"))).unwrap();
    proxy.says(|message| message.starts_with("--insecure-skip-tls-verify was given"));
}

#[test]
fn a_proxy_makes_its_own_certificate_if_it_is_told_to() {
    let (member, dir) = (Member::start(), TempDir::new().unwrap());
    let data_dir = dir.path().display().to_string();
    let proxy = Proxy::before(&member, &["--auto-tls", "--data-dir", &data_dir]);
    let cert = dir.path().join("fixtures/proxy/cert.pem").display().to_string();
    let mut command = run::etcdctl_v3(&binaries::etcdctl(), &format!("https://{}", proxy.address));
    let output = run::run(command.args(["--cacert", &cert, "put", "a", "1"]), "");
    assert_eq!((output.exit, output.stdout.as_str()), (Some(0), "OK\n"), "{output:?}");
    if !harness::has_curl() {
        return;
    }
    let mut curl = std::process::Command::new("curl");
    curl.args(["--silent", "--cacert", &cert]);
    let output = run::run(curl.arg(format!("https://{}/proxy/health", proxy.address)), "");
    assert_eq!(output.stdout, "{\"health\":\"true\",\"reason\":\"\"}", "{output:?}");
}

#[test]
fn passwords_and_rights_are_the_members_affair() {
    let scene = Users::start(Start::new().flag("--bcrypt-cost=4").start());
    scene.rights_count();
    scene.who_loses_them_is_told_nothing_more();
    scene.end();
    let why = "no /usr/bin/etcd 3.4";
    let Some(etcd) = binaries::real_etcd() else {
        rings::can_run("users through a grpc-proxy", false, why);
        return;
    };
    let scene = Users::start(Start::original(etcd).start());
    // It asks when a watch begins, and never again.
    scene.rights_count();
    scene.end();
}

/// root, and me, who may do what he likes below `mine/`; behind a proxy.
struct Users {
    member: Member,
    proxy: Proxy,
}

impl Users {
    fn start(member: Member) -> Self {
        let proxy = Proxy::before(&member, &[]);
        let scene = Self { member, proxy };
        scene.done(&["put", "mine/a", "1"]);
        scene.done(&["put", "theirs/a", "2"]);
        scene.done(&["get", "theirs/a", "--consistency=s"]);
        scene.done(&["user", "add", "root:r"]);
        scene.done(&["user", "add", "me:m"]);
        scene.done(&["role", "add", "mine"]);
        scene.done(&["role", "grant-permission", "mine", "readwrite", "mine/", "--prefix"]);
        scene.done(&["user", "grant-role", "me", "mine"]);
        scene.done(&["user", "grant-role", "root", "root"]);
        scene.done(&["auth", "enable"]);
        scene
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = run::etcdctl_v3(&binaries::etcdctl(), &self.proxy.endpoint());
        run::run(command.args(arguments), "")
    }

    fn done(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.exit, Some(0), "{arguments:?}: {output:?}");
        output.stdout
    }

    fn watch(&self, user: &str, prefix: &str) -> Running {
        let mut command = run::etcdctl_v3(&binaries::etcdctl(), &self.proxy.endpoint());
        run::start(command.args(["--user", user, "watch", prefix, "--prefix"]), "")
    }

    /// Waits until so many watches are open at the member.
    fn are_open(&self, count: u64) {
        eventually(PATIENCE, "they watch", || (figure(&self.member, OPEN) == count).then_some(()));
    }

    fn rights_count(&self) {
        assert_eq!(
            self.done(&["--user", "root:r", "get", "theirs/a", "--consistency=s"]),
            "theirs/a\n2\n"
        );
        let all = self.watch("root:r", "theirs/");
        self.are_open(1);
        assert_eq!(self.done(&["--user", "me:m", "get", "mine/a"]), "mine/a\n1\n");
        // Nobody reads what another has read, and no watch goes along where it may not.
        let output = self.run(&["--user", "me:m", "get", "theirs/a", "--consistency=s"]);
        assert!(output.stderr.contains("permission denied"), "{output:?}");
        assert_eq!(output.stdout, "");
        let output = self.run(&["get", "theirs/a", "--consistency=s"]);
        assert!(output.stderr.contains("user name is empty"), "{output:?}");
        let denied = self.watch("me:m", "theirs/").wait(PATIENCE);
        assert!(denied.stderr.contains("permission denied"), "{denied:?}");
        self.done(&["--user", "root:r", "put", "theirs/a", "3"]);
        eventually(PATIENCE, "root is told", || {
            let lines = all.stdout();
            (lines == ["PUT", "theirs/a", "3"]).then_some(())
        });
        drop(all);
        self.are_open(0);
    }

    /// Also if others watch the same, who came first and still may.
    fn who_loses_them_is_told_nothing_more(&self) {
        let root = self.watch("root:r", "mine/");
        self.are_open(1);
        let me = self.watch("me:m", "mine/");
        self.are_open(2);
        self.done(&["--user", "me:m", "put", "mine/a", "ours"]);
        for watch in [&root, &me] {
            eventually(PATIENCE, "both are told", || {
                (watch.stdout() == ["PUT", "mine/a", "ours"]).then_some(())
            });
        }
        self.done(&["--user", "root:r", "user", "revoke-role", "me", "mine"]);
        self.done(&["--user", "root:r", "put", "mine/a", "secret"]);
        let ended = me.wait(PATIENCE);
        assert!(ended.stderr.contains("permission denied"), "{ended:?}");
        assert!(!ended.stdout.contains("secret"), "{ended:?}");
        eventually(PATIENCE, "root is told", || {
            root.stdout().contains(&"secret".to_owned()).then_some(())
        });
    }

    fn end(self) {
        let disabled = self.done(&["--user", "root:r", "auth", "disable"]);
        assert_eq!(disabled, "Authentication Disabled\n");
    }
}
