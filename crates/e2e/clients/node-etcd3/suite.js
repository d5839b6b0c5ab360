// All of what Node's `etcd3` can ask of a cluster. The package comes without its tests, and they
// start containers.

'use strict';

const assert = require('node:assert/strict');
const { after, beforeEach, test: run } = require('node:test');
const { EventEmitter, once } = require('node:events');
const etcd = require('etcd3');

const hosts = process.env.ENDPOINTS.split(',');
const client = new etcd.Etcd3({ hosts });

beforeEach(() => client.delete().all());
after(() => client.close());

/** A test that hangs is named, and the others still run. */
const test = (name, body) => run(name, { timeout: 60_000 }, body);

const put = (key, value) => client.put(key).value(value);

/** Collects what an emitter tells, and waits until it is so much. */
function gather(emitter, event, as = (...told) => told) {
  const all = [];
  const seen = new EventEmitter();
  emitter.on(event, (...told) => {
    all.push(as(...told));
    seen.emit('more');
  });
  all.count = async (count) => {
    while (all.length < count) {
      await once(seen, 'more');
    }
    return all;
  };
  return all;
}

/** Refused with this text, or as this kind of error. */
async function refused(promise, why) {
  await assert.rejects(Promise.resolve(promise), (problem) => {
    if (why instanceof RegExp) {
      assert.match(problem.message, why);
    } else {
      assert.ok(problem instanceof why, `${problem.name}: ${problem.message}`);
    }
    return true;
  });
}

test('a value comes back in every form', async () => {
  await put('text', 'dögs');
  assert.equal(await client.get('text').string(), 'dögs');
  assert.equal(await client.get('text').exists(), true);
  await put('number', 42);
  assert.equal(await client.get('number').number(), 42);
  await put('json', JSON.stringify({ a: [1] }));
  assert.deepEqual(await client.get('json').json(), { a: [1] });
  const bytes = Buffer.from([0, 255, 254, 10]);
  await put(bytes, bytes);
  assert.deepEqual(await client.get(bytes).buffer(), bytes);
  await put('empty', '');
  assert.equal(await client.get('empty').string(), '');
});

test('what is not there is null', async () => {
  assert.equal(await client.get('nothing').string(), null);
  assert.equal(await client.get('nothing').exists(), false);
  assert.equal(await client.get('nothing').number(), null);
});

test('a put tells what was there before, and keeps count', async () => {
  await put('key', 'first');
  const before = await put('key', 'second').getPrevious();
  assert.equal(before.value.toString(), 'first');
  assert.equal(before.version, '1');
  const now = (await client.get('key').exec()).kvs[0];
  assert.equal(now.version, '2');
  assert.equal(now.create_revision, before.create_revision);
  assert.equal(BigInt(now.mod_revision), BigInt(before.mod_revision) + 1n);
});

test('a touch keeps the value', async () => {
  await put('key', 'kept');
  await client.put('key').touch();
  const now = (await client.get('key').exec()).kvs[0];
  assert.equal(now.value.toString(), 'kept');
  assert.equal(now.version, '2');
  await refused(client.put('nothing').touch(), /etcdserver: key not found/);
});

test('an empty key is refused', async () => {
  await refused(put('', 'value'), /etcdserver: key is not provided/);
});

async function fill() {
  for (const [key, value] of [['foo1', 'bar1'], ['foo2', 'bar2'], ['foo3', '{"a":3}'], ['baz', '5']]) {
    await put(key, value);
  }
}

test('many keys are asked for at once', async () => {
  await fill();
  const foos = () => client.getAll().prefix('foo');
  assert.deepEqual(await foos().keys(), ['foo1', 'foo2', 'foo3']);
  assert.deepEqual(await foos().keyBuffers(), ['foo1', 'foo2', 'foo3'].map((key) => Buffer.from(key)));
  assert.deepEqual(await foos().strings(), { foo1: 'bar1', foo2: 'bar2', foo3: '{"a":3}' });
  assert.equal(await foos().count(), 3);
  assert.equal(await client.getAll().count(), 4);
  assert.deepEqual(await client.getAll().prefix('foo3').json(), { foo3: { a: 3 } });
  assert.deepEqual(await client.getAll().prefix('baz').numbers(), { baz: 5 });
  assert.deepEqual(await client.getAll().inRange({ start: 'baz', end: 'foo2' }).keys(), ['baz', 'foo1']);
  assert.deepEqual(await client.getAll().inRange({ prefix: 'foo' }).keys(), ['foo1', 'foo2', 'foo3']);
});

test('answers are sorted and limited', async () => {
  await fill();
  const keys = (target, order) => client.getAll().sort(target, order).keys();
  assert.deepEqual(await keys('Key', 'Descend'), ['foo3', 'foo2', 'foo1', 'baz']);
  assert.deepEqual(await keys('Value', 'Ascend'), ['baz', 'foo1', 'foo2', 'foo3']);
  assert.deepEqual(await keys('Mod', 'Descend'), ['baz', 'foo3', 'foo2', 'foo1']);
  assert.deepEqual(await keys('Create', 'Ascend'), ['foo1', 'foo2', 'foo3', 'baz']);
  await put('baz', '6');
  assert.deepEqual((await keys('Version', 'Descend'))[0], 'baz');
  const some = await client.getAll().limit(2).exec();
  assert.deepEqual([some.kvs.length, some.more, some.count], [2, true, '4']);
});

test('the past is there until it is compacted', async () => {
  const first = (await put('key', '1')).header.revision;
  const second = (await put('key', '2')).header.revision;
  assert.equal(await client.get('key').revision(first).string(), '1');
  await client.kv.compact({ revision: second, physical: true });
  await refused(client.get('key').revision(first).string(), /etcdserver: mvcc: required revision has been compacted/);
  assert.equal(await client.get('key').revision(second).string(), '2');
  await refused(client.kv.compact({ revision: first }), /etcdserver: mvcc: required revision has been compacted/);
  await refused(client.get('key').revision(Number(second) + 1000).string(), /etcdserver: mvcc: required revision is a future revision/);
});

test('revisions filter', async () => {
  await fill();
  const kvs = (await client.getAll().sort('Mod', 'Ascend').exec()).kvs;
  const [from, to] = [kvs[1].mod_revision, kvs[2].mod_revision];
  assert.deepEqual(await client.getAll().minModRevision(from).maxModRevision(to).keys(), ['foo2', 'foo3']);
  assert.deepEqual(await client.getAll().minCreateRevision(to).keys(), ['baz', 'foo3']);
  assert.deepEqual(await client.getAll().maxCreateRevision(from).keys(), ['foo1', 'foo2']);
});

test('every member answers, also by itself', async () => {
  await put('key', 'value');
  for (const host of hosts) {
    const one = new etcd.Etcd3({ hosts: host });
    assert.equal(await one.get('key').string(), 'value');
    assert.equal(await one.get('key').serializable(true).string(), 'value');
    one.close();
  }
});

test('deletions tell how many, and what was there', async () => {
  await fill();
  assert.equal((await client.delete().key('foo1')).deleted, '1');
  assert.equal((await client.delete().key('foo1')).deleted, '0');
  const gone = await client.delete().prefix('foo').getPrevious();
  assert.deepEqual(gone.map((kv) => kv.value.toString()), ['bar2', '{"a":3}']);
  assert.equal((await client.delete().inRange({ start: 'a', end: 'c' })).deleted, '1');
  assert.equal(await client.getAll().count(), 0);
});

test('a transaction takes the branch that its comparisons choose', async () => {
  await put('key', 'value');
  const taken = async (...comparison) => {
    const done = await client.if('key', ...comparison)
      .then(client.get('key'))
      .else(client.put('else').value('yes'), client.get('key'))
      .commit();
    assert.equal(done.responses.length, done.succeeded ? 1 : 2);
    return done.succeeded;
  };
  const { version, mod_revision, create_revision } = (await client.get('key').exec()).kvs[0];
  assert.equal(await taken('Value', '==', 'value'), true);
  assert.equal(await taken('Value', '!=', 'value'), false);
  assert.equal(await taken('Value', '>', 'valua'), true);
  assert.equal(await taken('Value', '<', 'valua'), false);
  assert.equal(await taken('Version', '==', version), true);
  assert.equal(await taken('Mod', '==', mod_revision), true);
  assert.equal(await taken('Create', '<', create_revision), false);
  assert.equal(await taken('Lease', '==', 0), true);
  assert.equal(await client.get('else').string(), 'yes');
});

test('a transaction writes all or nothing', async () => {
  const done = await client.if('lock', 'Create', '==', 0)
    .and('other', 'Version', '==', 0)
    .then(client.put('lock').value('mine'), client.delete().prefix('x'), client.put('y').value('1'))
    .commit();
  assert.equal(done.succeeded, true);
  assert.deepEqual(await client.getAll().keys(), ['lock', 'y']);
  const twice = client.if('lock', 'Create', '!=', 0)
    .then(client.put('same').value('1'), client.put('same').value('2')).commit();
  await refused(twice, /etcdserver: duplicate key given in txn request/);
  assert.equal(await client.get('same').string(), null);
});

test('software transactions that meet are repeated', async () => {
  await put('counter', 0);
  const add = () => client.stm({ retries: 100 }).transact(async (tx) => {
    await tx.put('counter').value((await tx.get('counter').number()) + 1);
  });
  await Promise.all(Array.from({ length: 8 }, add));
  assert.equal(await client.get('counter').number(), 8);
  // Serializable snapshot, serializable, repeatable reads, read committed.
  for (const isolation of [0, 1, 2, 3]) {
    await client.stm({ isolation }).transact(async (tx) => {
      await tx.put('stm').value(String(isolation));
      assert.equal(await tx.get('stm').string(), String(isolation));
      await tx.delete().key('counter');
    });
    assert.equal(await client.get('stm').string(), String(isolation));
  }
});

test('a lease takes its keys along when it is revoked', async () => {
  const lease = client.lease(60);
  await lease.put('leased').value('value');
  const id = await lease.grant();
  const told = await client.leaseClient.leaseTimeToLive({ ID: id, keys: true });
  assert.deepEqual([told.grantedTTL, told.keys.map(String)], ['60', ['leased']]);
  const { leases } = await client.leaseClient.leaseLeases();
  assert.ok(leases.some((one) => one.ID === id));
  assert.equal((await lease.keepaliveOnce()).TTL, '60');
  await lease.revoke();
  assert.equal(lease.revoked(), true);
  assert.equal(await client.get('leased').string(), null);
  await refused(client.put('leased').value('x').lease(id), etcd.EtcdLeaseInvalidError);
  assert.equal((await client.leaseClient.leaseTimeToLive({ ID: id })).TTL, '-1');
});

test('a lease that nobody keeps ends, and its client hears of it', async () => {
  const lease = client.lease(1, { autoKeepAlive: false });
  await lease.put('short').value('lived');
  const watcher = await client.watch().key('short').create();
  const [gone] = await once(watcher, 'delete');
  assert.equal(gone.key.toString(), 'short');
  await watcher.cancel();
  await refused(lease.keepaliveOnce(), etcd.EtcdLeaseInvalidError);
});

test('a lease is kept alive by itself', async () => {
  const lease = client.lease(2);
  const kept = gather(lease, 'keepaliveSucceeded');
  await lease.put('long').value('lived');
  await kept.count(3);
  assert.equal(await client.get('long').string(), 'lived');
  const lost = once(lease, 'lost');
  await client.leaseClient.leaseRevoke({ ID: await lease.grant() });
  const [problem] = await lost;
  assert.ok(problem instanceof etcd.EtcdLeaseInvalidError);
});

test('a put may keep the lease', async () => {
  const lease = client.lease(60);
  await lease.put('leased').value('1');
  await client.put('leased').value('2').ignoreLease();
  assert.equal((await client.get('leased').exec()).kvs[0].lease, await lease.grant());
  await put('leased', '3');
  assert.equal((await client.get('leased').exec()).kvs[0].lease, '0');
  await lease.revoke();
  assert.equal(await client.get('leased').string(), '3');
});

test('a watch of a key tells puts and deletions in order', async () => {
  const watcher = await client.watch().key('key').create();
  const puts = gather(watcher, 'put', (kv) => kv.value.toString());
  const deletions = gather(watcher, 'delete', (kv) => kv.key.toString());
  await put('key', '1');
  await put('other', 'x');
  await put('key', '2');
  await client.delete().key('key');
  assert.deepEqual([...(await deletions.count(1))], ['key']);
  assert.deepEqual([...puts], ['1', '2']);
  await watcher.cancel();
});

test('a watch of a prefix has what was before, and from history', async () => {
  const revision = (await put('dir/a', '1')).header.revision;
  await put('dir/a', '2');
  const watcher = await client.watch().prefix('dir/').withPreviousKV().startRevision(revision).create();
  const told = gather(watcher, 'put', (kv, before) => [String(kv.value), before ? String(before.value) : null]);
  await put('dir/b', '3');
  await told.count(3);
  assert.deepEqual([...told], [['1', null], ['2', '1'], ['3', null]]);
  await watcher.cancel();
});

test('watches filter', async () => {
  // Its `ignore` has the two exchanged.
  const puts = await client.watch().key('key').only('put').create();
  const deletions = await client.watch().key('key').only('delete').create();
  const all = gather(puts, 'data', (told) => told.events.map((event) => event.type));
  const gone = gather(deletions, 'data', (told) => told.events.map((event) => event.type));
  await put('key', '1');
  await client.delete().key('key');
  await put('key', '2');
  assert.deepEqual((await all.count(2)).flat(), ['Put', 'Put']);
  assert.deepEqual((await gone.count(1)).flat(), ['Delete']);
  await Promise.all([puts.cancel(), deletions.cancel()]);
});

test('a watch of what is compacted ends with an error', async () => {
  await put('key', '1');
  const { revision } = (await put('key', '2')).header;
  await client.kv.compact({ revision });
  const watcher = client.watch().key('key').startRevision('1').watcher();
  const [problem] = await once(watcher, 'error');
  assert.match(problem.message, /^Watcher canceled/);
});

test('many watches share a stream', async () => {
  const names = Array.from({ length: 50 }, (_, at) => `many/${at}`);
  const watchers = await Promise.all(names.map((name) => client.watch().key(name).create()));
  const all = watchers.map((watcher) => gather(watcher, 'put', (kv) => kv.key.toString()));
  await Promise.all(names.map((name) => put(name, 'x')));
  const told = await Promise.all(all.map((one) => one.count(1)));
  assert.deepEqual(told.map((one) => one[0]), names);
  await Promise.all(watchers.map((watcher) => watcher.cancel()));
});

test('a lock is held by one', async () => {
  const lock = await client.lock('resource').ttl(5).acquire();
  await refused(client.lock('resource').ttl(5).acquire(), etcd.EtcdLockFailedError);
  await lock.release();
  const result = await client.lock('resource').do(() => 'done');
  assert.equal(result, 'done');
});

test('an election has one leader at a time, and its observers see each', async () => {
  const election = client.election('chair', 5);
  const first = election.campaign('first');
  await first.wait();
  assert.equal(await election.leader(), 'first');
  const observer = await election.observe();
  const seen = gather(observer, 'change');
  const second = election.campaign('second');
  // Asked for now: it may be elected before the one who resigns hears that it has.
  const elected = second.wait();
  await second.getCampaignKey();
  await first.proclaim('still first');
  while (observer.leader() !== 'still first') {
    await once(observer, 'change');
  }
  await first.resign();
  await elected;
  while (observer.leader() !== 'second') {
    await once(observer, 'change');
  }
  assert.equal(await election.leader(), 'second');
  await second.resign();
  await refused(election.leader(), etcd.EtcdNoLeaderError).catch(async () => {
    assert.equal(await election.leader(), undefined);
  });
  assert.ok(seen.length >= 2);
  await observer.cancel();
});

test('a namespace sees its own keys alone', async () => {
  const users = client.namespace('users/');
  await users.put('jane').value('here');
  await put('outside', 'x');
  assert.equal(await client.get('users/jane').string(), 'here');
  assert.deepEqual(await users.getAll().keys(), ['jane']);
  const watcher = await users.watch().key('jane').create();
  const told = once(watcher, 'put');
  await put('users/jane', 'there');
  assert.equal((await told)[0].key.toString(), 'jane');
  await watcher.cancel();
  await users.delete().all();
  assert.deepEqual(await client.getAll().keys(), ['outside']);
});

test('members are listed, added as learners and removed', async () => {
  const { members } = await client.cluster.memberList({ linearizable: true });
  assert.deepEqual(members.map((member) => member.name).sort(), ['pifpaf0', 'pifpaf1', 'pifpaf2']);
  const added = await client.cluster.memberAdd({ peerURLs: ['http://127.0.0.1:1'], isLearner: true });
  assert.equal(added.member.isLearner, true);
  const id = added.member.ID;
  await refused(client.cluster.memberPromote({ ID: id }), /etcdserver: can only promote a learner member which is in sync with leader/);
  const updated = await client.cluster.memberUpdate({ ID: id, peerURLs: ['http://127.0.0.1:2'] });
  assert.ok(updated.members.some((member) => member.peerURLs[0] === 'http://127.0.0.1:2'));
  const left = await client.cluster.memberRemove({ ID: id });
  assert.equal(left.members.length, 3);
  await refused(client.cluster.memberRemove({ ID: id }), /etcdserver: member not found/);
});

test('maintenance', async () => {
  await put('key', 'value');
  const status = await client.maintenance.status();
  assert.match(status.version, /^3\./);
  assert.notEqual(status.leader, '0');
  assert.ok(BigInt(status.dbSize) > 0n && BigInt(status.raftAppliedIndex) > 0n);
  assert.notEqual((await client.maintenance.hash()).hash, 0);
  await client.maintenance.defragment();
  assert.deepEqual((await client.maintenance.alarm({ action: 'Get' })).alarms, []);
});

test('an alarm is raised and lifted', async () => {
  const raised = await client.maintenance.alarm({ action: 'Activate', alarm: 'Nospace', memberID: '0' });
  assert.deepEqual(raised.alarms, [{ memberID: '0', alarm: 'Nospace' }]);
  try {
    await refused(put('key', 'value'), /etcdserver: mvcc: database space exceeded/);
  } finally {
    await client.maintenance.alarm({ action: 'Deactivate', alarm: 'Nospace', memberID: '0' });
  }
  await put('key', 'value');
});

test('a snapshot comes in pieces and to its end', async () => {
  await put('key', 'x'.repeat(100_000));
  const stream = await client.maintenance.snapshot();
  const ended = once(stream, 'end');
  let bytes = 0;
  let left = -1n;
  stream.on('data', (piece) => {
    bytes += piece.blob.length;
    left = BigInt(piece.remaining_bytes);
  });
  await ended;
  assert.ok(bytes > 0);
  assert.equal(left, 0n);
});

test('leadership is moved', async () => {
  const { leader } = await client.maintenance.status();
  const { members } = await client.cluster.memberList({ linearizable: true });
  const other = members.find((member) => member.ID !== leader);
  const at = members.find((member) => member.ID === leader).clientURLs[0];
  const one = new etcd.Etcd3({ hosts: at });
  await one.maintenance.moveLeader({ targetID: other.ID });
  assert.equal((await one.maintenance.status()).leader, other.ID);
  await refused(one.maintenance.moveLeader({ targetID: leader }), /etcdserver: not leader/);
  one.close();
});

test('a cluster without users needs no password', async () => {
  const stranger = new etcd.Etcd3({ hosts, auth: { username: 'root', password: 'x' } });
  await refused(stranger.get('key').string(), /etcdserver: authentication is not enabled/);
  stranger.close();
});

test('users log in, and may do what their roles permit', async () => {
  const root = new etcd.Etcd3({ hosts, auth: { username: 'root', password: 'rootpw' } });
  const alice = new etcd.Etcd3({ hosts, auth: { username: 'alice', password: 'alicepw' } });
  const wrong = new etcd.Etcd3({ hosts, auth: { username: 'alice', password: 'rootpw' } });
  await put('secret', 'x');
  await client.role('root').create();
  await client.user('root').create('rootpw');
  await client.user('root').addRole('root');
  await client.role('some').create();
  await client.role('some').grant({ permission: 'Readwrite', range: client.range({ prefix: 'some/' }) });
  await client.user('alice').create('alicepw');
  await client.user('alice').addRole('some');
  await client.auth.authEnable();
  try {
    await refused(client.get('some/key').string(), /etcdserver: user name is empty/);
    await refused(wrong.get('some/key').string(), /etcdserver: authentication failed, invalid user ID or password/);
    await alice.put('some/key').value('hers');
    assert.equal(await alice.get('some/key').string(), 'hers');
    assert.deepEqual(await alice.getAll().prefix('some/').strings(), { 'some/key': 'hers' });
    await refused(alice.get('secret').string(), /etcdserver: permission denied/);
    await refused(alice.put('secret').value('y'), /etcdserver: permission denied/);
    await refused(alice.getAll().keys(), /etcdserver: permission denied/);
    await refused(alice.user('bob').create('bobpw'), /etcdserver: permission denied/);
    assert.equal(await root.get('secret').string(), 'x');
    assert.deepEqual((await root.user('alice').roles()).map((role) => role.name), ['some']);
    assert.deepEqual((await root.getUsers()).map((user) => user.name).sort(), ['alice', 'root']);
    const [permission] = await root.role('some').permissions();
    assert.deepEqual([permission.permission, permission.range.start.toString()], ['Readwrite', 'some/']);
    // With nothing left to permit it.
    await root.user('alice').removeRole('some');
    await refused(alice.get('some/key').string(), /etcdserver: permission denied/);
  } finally {
    await root.auth.authDisable();
  }
  for (const name of ['alice', 'root']) {
    await client.user(name).delete();
  }
  for (const name of ['some', 'root']) {
    await client.role(name).delete();
  }
  assert.equal(await client.get('secret').string(), 'x');
  [root, alice, wrong].forEach((one) => one.close());
});
