// All of what Node's `node-etcd` (API 2) can ask of a cluster. The tests that it ships talk to a mock
// of HTTP and never to a server.

'use strict';

const assert = require('node:assert/strict');
const { beforeEach, test: run } = require('node:test');
const { once } = require('node:events');
const { promisify } = require('node:util');
const Etcd = require('node-etcd');

const hosts = process.env.ENDPOINTS.split(',');
// One member: what it has acknowledged it also shows, which another may do later.
const client = new Etcd(hosts[0]);

/** A test that hangs is named, and the others still run. */
const test = (name, body) => run(name, { timeout: 60_000 }, body);

/** Its callbacks have a third argument, the headers. */
const ask = (method, ...rest) => new Promise((resolve, reject) => {
  client[method](...rest, (problem, body, headers) => {
    if (problem) {
      reject(problem);
    } else {
      resolve({ body, headers });
    }
  });
});

const sleep = promisify(setTimeout);

async function refused(promise, code) {
  await assert.rejects(promise, (problem) => {
    assert.equal(problem.errorCode, code, problem.message);
    return true;
  });
}

beforeEach(async () => {
  const { body } = await ask('get', '/');
  for (const node of body.node.nodes ?? []) {
    await ask('del', node.key, { recursive: true });
  }
});

test('set, get, delete', async () => {
  const set = (await ask('set', 'key', 'a value with ümlauts & signs')).body;
  assert.deepEqual([set.action, set.node.key, set.prevNode], ['set', '/key', undefined]);
  const again = (await ask('set', '/key', '2')).body;
  assert.equal(again.prevNode.value, 'a value with ümlauts & signs');
  const { body, headers } = await ask('get', 'key');
  assert.deepEqual([body.action, body.node.value], ['get', '2']);
  assert.ok(Number(headers['x-etcd-index']) >= body.node.modifiedIndex);
  assert.ok(headers['x-raft-term'] && headers['x-etcd-cluster-id']);
  const gone = (await ask('del', 'key')).body;
  assert.deepEqual([gone.action, gone.prevNode.value], ['delete', '2']);
  await refused(ask('get', 'key'), 100);
  await refused(ask('del', 'key'), 100);
});

test('conditions', async () => {
  await ask('set', 'key', '1', { prevExist: false });
  await refused(ask('set', 'key', '1', { prevExist: false }), 105);
  await refused(ask('set', 'other', '1', { prevExist: true }), 100);
  const swapped = (await ask('compareAndSwap', 'key', '2', '1')).body;
  assert.deepEqual([swapped.action, swapped.prevNode.value], ['compareAndSwap', '1']);
  await refused(ask('testAndSet', 'key', '3', '1'), 101);
  const index = swapped.node.modifiedIndex;
  await refused(ask('set', 'key', '3', { prevIndex: index + 1 }), 101);
  await ask('set', 'key', '3', { prevIndex: index });
  await refused(ask('compareAndDelete', 'key', '2'), 101);
  const gone = (await ask('testAndDelete', 'key', '3')).body;
  assert.equal(gone.action, 'compareAndDelete');
});

test('directories', async () => {
  const made = (await ask('mkdir', 'dir')).body;
  assert.deepEqual([made.node.key, made.node.dir], ['/dir', true]);
  await refused(ask('mkdir', 'dir', { prevExist: false }), 105);
  await ask('set', 'dir/a/b', '1');
  await ask('set', 'dir/c', '2');
  await ask('set', 'dir/_hidden', '3');
  const flat = (await ask('get', 'dir', { sorted: true })).body;
  assert.deepEqual(flat.node.nodes.map((node) => [node.key, node.dir ?? false]), [['/dir/a', true], ['/dir/c', false]]);
  const deep = (await ask('get', 'dir', { recursive: true, sorted: true })).body;
  assert.equal(deep.node.nodes[0].nodes[0].value, '1');
  await refused(ask('set', 'dir', 'file'), 102);
  await refused(ask('set', 'dir/c/d', 'x'), 104);
  await refused(ask('del', 'dir'), 102);
  await refused(ask('rmdir', 'dir'), 108);
  await refused(ask('rmdir', 'dir/c'), 104).catch(() => refused(ask('rmdir', 'dir/c'), 100));
  const gone = (await ask('rmdir', 'dir', { recursive: true })).body;
  assert.deepEqual([gone.action, gone.node.dir], ['delete', true]);
  await refused(ask('get', 'dir'), 100);
});

test('keys in order', async () => {
  const keys = [];
  for (const value of ['a', 'b', 'c']) {
    const { body } = await ask('create', 'queue', value);
    assert.equal(body.action, 'create');
    keys.push(body.node.key);
  }
  await ask('post', 'queue', 'd');
  assert.deepEqual([...keys].sort(), keys);
  const queue = (await ask('get', 'queue', { sorted: true })).body;
  assert.deepEqual(queue.node.nodes.map((node) => node.value), ['a', 'b', 'c', 'd']);
});

test('time to live', async () => {
  const set = (await ask('set', 'short', 'lived', { ttl: 1 })).body;
  assert.equal(set.node.ttl, 1);
  assert.ok(!Number.isNaN(Date.parse(set.node.expiration)));
  const watched = (await ask('watch', 'short')).body;
  assert.deepEqual([watched.action, watched.prevNode.value], ['expire', 'lived']);
  await refused(ask('get', 'short'), 100);
  await ask('mkdir', 'dir', { ttl: 100 });
  assert.ok((await ask('get', 'dir')).body.node.ttl > 90);
  await ask('mkdir', 'dir', { ttl: '', prevExist: true });
  assert.equal((await ask('get', 'dir')).body.node.ttl, undefined);
});

test('a watch gets the next change, and one from history', async () => {
  const next = ask('watch', 'key');
  await sleep(200);
  const { body } = await ask('set', 'key', '1');
  assert.deepEqual((await next).body.node, body.node);
  await ask('set', 'key', '2');
  const past = (await ask('watchIndex', 'key', body.node.modifiedIndex)).body;
  assert.equal(past.node.value, '1');
  const below = (await ask('watchIndex', '/', body.node.modifiedIndex, { recursive: true })).body;
  assert.equal(below.node.key, '/key');
});

test('a watcher tells every change in order', async () => {
  const { body } = await ask('set', 'dir/first', '0');
  const watcher = client.watcher('dir', body.node.modifiedIndex + 1, { recursive: true });
  const told = [];
  const all = new Promise((resolve) => {
    watcher.on('change', (change) => told.push([change.action, change.node.key]) === 5 && resolve());
  });
  const gone = once(watcher, 'delete');
  await ask('set', 'dir/a', '1');
  await ask('set', 'dir/b', '2', { prevExist: false });
  await ask('compareAndSwap', 'dir/a', '3', '1');
  await ask('set', 'dir/a', '4', { prevExist: true });
  await ask('del', 'dir/a');
  await all;
  assert.equal((await gone)[0].prevNode.value, '4');
  assert.deepEqual(told, [
    ['set', '/dir/a'], ['create', '/dir/b'], ['compareAndSwap', '/dir/a'], ['update', '/dir/a'], ['delete', '/dir/a'],
  ]);
  watcher.stop();
});

test('a request can be taken back', async () => {
  const token = client.watch('key', () => assert.fail('it was aborted'));
  token.abort();
  assert.equal(token.isAborted(), true);
  await ask('set', 'key', '1');
  await sleep(100);
});

test('one member after the other is asked', async () => {
  const some = new Etcd(['127.0.0.1:1', ...hosts]);
  for (let round = 0; round < 10; round += 1) {
    const set = promisify(some.set.bind(some));
    assert.equal((await set(`key${round}`, 'x')).node.value, 'x');
  }
  for (const host of hosts) {
    const one = new Etcd(host);
    const get = promisify(one.get.bind(one));
    assert.equal((await get('key3', { quorum: true })).node.value, 'x');
  }
});

test('synchronous calls', () => {
  assert.equal(client.setSync('key', '1').body.node.value, '1');
  assert.equal(client.getSync('key').body.node.value, '1');
  assert.equal(client.mkdirSync('dir').body.node.dir, true);
  assert.equal(client.rmdirSync('dir').body.action, 'delete');
  assert.equal(client.delSync('key').body.action, 'delete');
  assert.equal(client.getSync('key').err.errorCode, 100);
});

test('who is there', async () => {
  assert.match((await ask('version')).body.etcdserver, /^3\./);
  const self = (await ask('selfStats')).body;
  assert.match(self.name, /^pifpaf[012]$/);
  const leader = (await ask('raw', 'GET', 'v2/members/leader', null, {})).body;
  const stats = new Etcd(leader.clientURLs[0]);
  const told = await promisify(stats.leaderStats.bind(stats))();
  assert.equal(told.leader, leader.id);
  assert.equal(Object.keys(told.followers).length, 2);
  const members = (await ask('raw', 'GET', 'v2/members', null, {})).body;
  assert.equal(members.members.length, 3);
});

/** It has no word for users: what administrators ask is asked without it. */
async function administer(method, path, body, status, auth = {}) {
  const headers = { 'Content-Type': 'application/json' };
  if (auth.user) {
    headers.Authorization = `Basic ${Buffer.from(`${auth.user}:${auth.pass}`).toString('base64')}`;
  }
  const url = new URL(`v2/auth/${path}`, hosts[0]);
  const answer = await fetch(url, { method, headers, body: body && JSON.stringify(body) });
  assert.equal(answer.status, status, `${method} ${path}: ${await answer.text()}`);
}

test('users log in, and may do what their roles permit', async () => {
  const root = { user: 'root', pass: 'rootpw' };
  const as = (auth) => {
    const one = new Etcd(hosts[0], { auth });
    return (method, ...rest) => promisify(one[method].bind(one))(...rest);
  };
  const [asRoot, alice, wrong] = [as(root), as({ user: 'alice', pass: 'alicepw' }), as({ user: 'alice', pass: 'x' })];
  await ask('set', 'secret', 'x');
  await administer('PUT', 'users/root', { user: 'root', password: 'rootpw' }, 201);
  const kv = { read: ['/some/*'], write: ['/some/*'] };
  await administer('PUT', 'roles/some', { role: 'some', permissions: { kv } }, 201);
  await administer('PUT', 'users/alice', { user: 'alice', password: 'alicepw' }, 201);
  await administer('PUT', 'users/alice', { user: 'alice', grant: ['some'] }, 200);
  await administer('PUT', 'enable', null, 200);
  try {
    const all = { kv: { read: ['/*'], write: ['/*'] } };
    await administer('PUT', 'roles/guest', { role: 'guest', revoke: all }, 200, root);
    assert.equal((await alice('set', 'some/key', 'hers')).node.value, 'hers');
    assert.equal((await alice('get', 'some/key')).node.value, 'hers');
    for (const one of [ask, alice, wrong]) {
      await refused(one('get', 'secret'), 110);
      await refused(one('set', 'secret', 'y'), 110);
    }
    await refused(wrong('get', 'some/key'), 110);
    await administer('GET', 'users', null, 401, { user: 'alice', pass: 'alicepw' });
    assert.equal((await asRoot('get', 'secret')).node.value, 'x');
  } finally {
    await administer('DELETE', 'enable', null, 200, root);
  }
  for (const path of ['users/alice', 'users/root', 'roles/some', 'roles/guest']) {
    await administer('DELETE', path, null, 200);
  }
  assert.equal((await ask('get', 'secret')).body.node.value, 'x');
});
