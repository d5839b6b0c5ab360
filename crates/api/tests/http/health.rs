//! `/health`, `/livez` and `/readyz` as etcd 3.6 answers them.

use proto::{
    command::Op,
    etcdserverpb::{
        AlarmRequest, AlarmType, PutRequest, RequestOp, TxnRequest, alarm_request::AlarmAction,
        request_op::Request,
    },
};

use crate::member::Member;

fn alarm(member: &Member, kind: AlarmType, action: AlarmAction) {
    let member_id = member.handle.member_id().0;
    let alarm = AlarmRequest { action: action.into(), member_id, alarm: kind.into() };
    member.runtime.block_on(member.handle.write(Op::Alarm(alarm))).expect("it is applied");
}

fn raise(member: &Member, kind: AlarmType) {
    alarm(member, kind, AlarmAction::Activate);
}

/// Of a member that is asked this: status and body.
#[track_caller]
fn check(member: &Member, target: &str, status: u16, text: &str) {
    let answer = member.get(target).expect(status);
    assert_eq!(answer.text(), text, "{target}");
    assert_eq!(answer.header("Content-Type"), Some("text/plain; charset=utf-8"), "{target}");
}

const LIVE: &str = "[+]serializable_read ok\n";
const READY: &str =
    "[+]data_corruption ok\n[+]serializable_read ok\n[+]linearizable_read ok\n[+]non_learner ok\n";

#[test]
fn a_member_that_is_well_says_so() {
    let member = Member::start();
    check(&member, "/health", 200, "{\"health\": \"true\"}");
    let of_3 = "{\"health\":\"true\",\"reason\":\"\"}";
    check(&member, "/health?serializable=true", 200, of_3);
    // Nothing is excluded.
    check(&member, "/health?exclude=", 200, "{\"health\": \"true\"}");
    check(&member, "/health?exclude=NOSPACE", 200, of_3);
    check(&member, "/health?exclude=NOSPACE&exclude=CORRUPT&serializable=true", 200, of_3);
    for path in [
        "/livez",
        "/livez/serializable_read",
        "/readyz",
        "/readyz/data_corruption",
        "/readyz/serializable_read",
        "/readyz/linearizable_read",
        "/readyz/non_learner",
    ] {
        check(&member, path, 200, "ok\n");
        assert_eq!(member.get(path).header("X-Content-Type-Options"), Some("nosniff"));
    }
    check(&member, "/livez?verbose", 200, &format!("{LIVE}ok\n"));
    check(&member, "/readyz?verbose", 200, &format!("{READY}ok\n"));
    check(&member, "/readyz?verbose=false", 200, &format!("{READY}ok\n"));
    let without = "[+]data_corruption ok\n[+]linearizable_read ok\n[+]non_learner ok\nok\n";
    check(&member, "/readyz?verbose&exclude=serializable_read&exclude=unknown", 200, without);
    check(&member, "/readyz/non_learner?verbose", 200, "[+]non_learner ok\nok\n");
    check(&member, "/livez?verbose&exclude=serializable_read", 200, "ok\n");
}

/// How many keys there are makes no difference.
#[test]
fn a_member_with_many_keys_is_well_too() {
    let member = Member::start();
    let keys: Vec<usize> = (0..2 * base::limits::ANSWER_SMALL_NAMES_MAX).collect();
    for keys in keys.chunks(100) {
        let put = |key: &usize| {
            let key = format!("{key}").into();
            let put = PutRequest { key, ..PutRequest::default() };
            RequestOp { request: Some(Request::RequestPut(put)) }
        };
        let txn = TxnRequest { success: keys.iter().map(put).collect(), ..TxnRequest::default() };
        member.runtime.block_on(member.handle.write(Op::Txn(txn))).expect("it is applied");
    }
    for path in ["/health", "/health?serializable=true", "/livez", "/readyz"] {
        member.get(path).expect(200);
    }
}

#[test]
fn an_alarm_is_told_unless_it_is_excluded() {
    let member = Member::start();
    raise(&member, AlarmType::Nospace);
    check(&member, "/health", 503, "{\"health\": \"false\"}\n");
    let no_space = "{\"health\":\"false\",\"reason\":\"ALARM NOSPACE\"}\n";
    check(&member, "/health?serializable=true", 503, no_space);
    check(&member, "/health?exclude=CORRUPT", 503, no_space);
    check(&member, "/health?exclude=NOSPACE", 200, "{\"health\":\"true\",\"reason\":\"\"}");
    // It can be read from.
    check(&member, "/readyz", 200, "ok\n");
    raise(&member, AlarmType::Corrupt);
    let corrupt = "{\"health\":\"false\",\"reason\":\"ALARM CORRUPT\"}\n";
    check(&member, "/health?exclude=NOSPACE", 503, corrupt);
    check(&member, "/livez", 200, "ok\n");
    let failed = READY
        .replace("[+]data_corruption ok", "[-]data_corruption failed: alarm activated: CORRUPT");
    check(&member, "/readyz", 503, &format!("{failed}\n"));
    check(
        &member,
        "/readyz/data_corruption",
        503,
        "[-]data_corruption failed: alarm activated: CORRUPT\n\n",
    );
    check(&member, "/readyz?exclude=data_corruption", 200, "ok\n");
}

#[test]
fn a_member_that_has_stopped_is_alive_to_those_who_read_what_there_is_alone() {
    let member = Member::start();
    member.runtime.block_on(member.handle.stop());
    let stopped = "linearizable_read failed: etcdserver: server stopped";
    check(&member, "/livez", 200, "ok\n");
    check(&member, "/readyz?exclude=linearizable_read", 200, "ok\n");
    check(&member, "/readyz/linearizable_read", 503, &format!("[-]{stopped}\n\n"));
}

#[test]
fn what_is_no_check_is_not_found_and_other_methods_are_refused() {
    let member = Member::start();
    for path in [
        "/livez/",
        "/livez/non_learner",
        "/livez/x",
        "/readyz/x",
        "/readyz/non_learner/x",
        "/livezx",
    ] {
        member.get(path).expect(404);
    }
    for path in ["/livez", "/readyz", "/readyz/non_learner"] {
        let answer = member.ask("POST", path, None).expect(405);
        assert_eq!(answer.header("Allow"), Some("GET"));
        assert_eq!(answer.text(), "Method Not Allowed\n");
    }
}

#[test]
fn what_was_found_is_counted() {
    let member = Member::start();
    let of = |series: &str| {
        let page = member.get("/metrics").text();
        let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map(|value| value.parse::<f64>().expect("a number"))
    };
    let check = |metric: &str, more: &str| {
        of(&format!("etcd_server_{metric}{{name=\"data_corruption\",{more}type=\"readyz\"}}"))
    };
    assert_eq!(check("healthcheck", ""), None);
    member.get("/readyz").expect(200);
    assert_eq!(check("healthcheck", ""), Some(1.0));
    raise(&member, AlarmType::Corrupt);
    member.get("/readyz/data_corruption").expect(503);
    assert_eq!(check("healthcheck", ""), Some(0.0));
    assert_eq!(check("healthchecks_total", "status=\"success\","), Some(1.0));
    assert_eq!(check("healthchecks_total", "status=\"error\","), Some(1.0));
    member.get("/health").expect(503);
    member.get("/health?exclude=CORRUPT").expect(200);
    assert_eq!(of("etcd_server_health_failures"), Some(1.0));
    assert_eq!(of("etcd_server_health_success"), Some(1.0));
}
