// google-gax for Node: OperationsClient and Operation, over gRPC and over REST ("fallback").
'use strict';

const assert = require('node:assert/strict');
const {randomBytes} = require('node:crypto');
const {test} = require('node:test');

// Nothing here runs in Google's cloud.
process.env.METADATA_SERVER_DETECTION = 'none';
const gax = require('google-gax');
const {PassThroughClient} = require('google-auth-library');
const {protobuf} = gax;

const [host, port] = process.env.LONGSHORE_ADDRESS.split(':');
const url = `http://${process.env.LONGSHORE_ADDRESS}`;
const TIMEOUT = {timeout: 60_000};
const OPTIONS = {servicePath: host, port: Number(port)};

/** The types of an API: what REST clients have to know to read a packed message. */
function types() {
  const root = new protobuf.Root();
  root.resolvePath = (_, path) =>
    protobuf.common.get(path) ? path : `${process.env.LONGSHORE_PROTOS}/${path}`;
  return root.loadSync(
    ['longshore/v1/jobs.proto', 'google/rpc/error_details.proto', 'google/protobuf/struct.proto'],
    {keepCase: false},
  );
}

const root = types();
const Metadata = root.lookupType('longshore.v1.OperationMetadata');
const Struct = root.lookupType('google.protobuf.Struct');

function restClient(options = {}) {
  // So that google-gax reads what an error says. By default the layer below it throws before, an
  // error with the HTTP status as its code and the body as its message.
  const transporterOptions = options.plainErrors ? {} : {validateStatus: () => true};
  const auth = new gax.GoogleAuth({authClient: new PassThroughClient({transporterOptions})});
  const builder = gax.fallback.lro({auth, fallback: true, ...options});
  return builder.operationsClient({...OPTIONS, protocol: 'http'});
}

function grpcClient() {
  const sslCreds = new gax.GrpcClient().grpc.credentials.createInsecure();
  return gax.lro({}).operationsClient({...OPTIONS, sslCreds});
}

const collection = () => `projects/p/locations/l${randomBytes(6).toString('hex')}`;

async function run(jobType, parent, fields = {}) {
  const body = JSON.stringify({jobType, ...fields});
  const answer = await fetch(`${url}/v1/${parent}/jobs:run`, {method: 'POST', body});
  assert.equal(answer.status, 200, await answer.clone().text());
  return (await answer.json()).name;
}

async function finished(jobType, parent, fields) {
  const name = await run(jobType, parent, fields);
  const answer = await fetch(`${url}/v1/${name}:wait?timeout=30s`);
  assert.equal((await answer.json()).done, true);
  return name;
}

/** What google-gax makes of an operation that a method of an API has returned. */
function future(client, operation) {
  const decoder = type => value => (Buffer.isBuffer(value) || value instanceof Uint8Array ? type.decode(value) : value);
  const descriptor = new gax.LongrunningDescriptor(client, decoder(Struct), decoder(Metadata));
  const backoff = gax.createBackoffSettings(50, 1.5, 500, null, null, null, 60_000);
  return gax.operation(operation, descriptor, backoff);
}

const word = struct => Struct.toObject(struct).fields.said.stringValue;

for (const [transport, client] of [
  ['grpc', grpcClient()],
  ['rest', restClient({protoJson: root})],
  ['rest with numeric enums', restClient({protoJson: root, numericEnums: true, minifyJson: true})],
]) {
  const check = (name, body) => test(`${transport}: ${name}`, TIMEOUT, body);

  check('get', async () => {
    const name = await finished('ok', collection(), {input: {word: 'hello'}, labels: {team: 'a'}});
    const [operation] = await client.getOperation({name});
    assert.equal(operation.name, name);
    assert.equal(operation.done, true);
    assert.equal(word(Struct.decode(operation.response.value)), 'hello');
    const metadata = Metadata.decode(operation.metadata.value);
    assert.equal(metadata.state, 4);
    assert.deepEqual(metadata.labels, {team: 'a'});
  });

  check('list with pages and a filter', async () => {
    const parent = collection();
    const done = await finished('ok', parent);
    const failed = await finished('fail', parent);
    const stuck = [];
    for (let i = 0; i < 4; i++) stuck.unshift(await run('stuck', parent));
    const name = `${parent}/operations`;
    const list = async (filter, pageSize = 0) => {
      const names = [];
      for await (const operation of client.listOperationsAsync({name, filter, pageSize})) names.push(operation.name);
      return names;
    };
    assert.deepEqual(await list(''), [...stuck, failed, done]);
    assert.deepEqual(await list('', 3), [...stuck, failed, done]);
    assert.deepEqual(await list('done=false'), stuck);
    assert.deepEqual(await list('error:*'), [failed]);
    assert.deepEqual(await list('done=true AND NOT error:*'), [done]);
    const [first, next] = await client.listOperations({name, pageSize: 2}, {autoPaginate: false});
    assert.deepEqual(first.map(operation => operation.name), stuck.slice(0, 2));
    assert.ok(next.pageToken);
  });

  check('future with a result and progress', async () => {
    // As an API answers at first: what a poll sees then is news.
    const running = future(client, {name: await run('slow', collection()), done: false});
    const states = [];
    running.on('progress', metadata => states.push(metadata.state));
    const [result, metadata] = await running.promise();
    assert.equal(word(result), 'slowly');
    assert.equal(metadata.state, 4);
    assert.ok(states.includes(2), `${states}`);
  });

  check('future of a failed operation', async () => {
    const [operation] = await client.getOperation({name: await run('fail', collection())});
    await assert.rejects(future(client, operation).promise(), error => {
      assert.equal(error.code, 3);
      assert.match(error.message, /no such flavour: anchovy/);
      return true;
    });
  });

  check('future of a cancelled operation', async () => {
    const [operation] = await client.getOperation({name: await run('stuck', collection())});
    const running = future(client, operation);
    const ended = assert.rejects(running.promise(), {code: 1});
    await running.cancel();
    await ended;
  });

  check('cancel is repeatable', async () => {
    const name = await run('stuck', collection());
    await client.cancelOperation({name});
    await client.cancelOperation({name});
    await (await fetch(`${url}/v1/${name}:wait?timeout=30s`)).json();
    const [operation] = await client.getOperation({name});
    assert.equal(operation.error.code, 1);
    await client.cancelOperation({name});
  });

  check('delete', async () => {
    const name = await finished('ok', collection());
    await client.deleteOperation({name});
    await assert.rejects(client.getOperation({name}), {code: 5});
  });

  check('errors', async () => {
    const parent = collection();
    const name = `${parent}/operations/nope`;
    for (const call of ['getOperation', 'cancelOperation', 'deleteOperation']) {
      await assert.rejects(client[call]({name}), error => {
        assert.equal(error.code, 5);
        assert.ok(error.message.includes(name), error.message);
        assert.equal(error.reason, 'OPERATION_NOT_FOUND');
        assert.equal(error.domain, 'longshore');
        return true;
      });
    }
    await assert.rejects(client.listOperations({name: `${parent}/operations`, filter: 'done = (('}), error => {
      assert.equal(error.code, 3);
      assert.equal(error.reason, 'INVALID_FILTER');
      const [violation] = error.statusDetails.flatMap(detail => detail.fieldViolations ?? []);
      assert.equal(violation.field, 'filter');
      return true;
    });
  });
}

// Without types of its own the client reads what has no metadata and no response but Empty. It
// sends the whole name of an operation as one segment.
test('rest without types: get and delete', TIMEOUT, async () => {
  const client = restClient();
  const parent = `bare/${randomBytes(6).toString('hex')}`;
  const [done, stuck] = [await finished('empty', parent), await run('stuck', parent)];
  const [operation] = await client.getOperation({name: done});
  assert.equal(operation.name, done);
  assert.equal(operation.response.type_url, 'type.googleapis.com/google.protobuf.Empty');
  await client.deleteOperation({name: await finished('empty', 'operations/bare')});
  assert.equal((await client.getOperation({name: stuck}))[0].done, false);
});

test('rest without types: errors as they are by default', TIMEOUT, async () => {
  const client = restClient({plainErrors: true});
  for (const call of ['getOperation', 'cancelOperation', 'deleteOperation']) {
    await assert.rejects(client[call]({name: 'operations/nope'}), error => {
      assert.equal(error.code, 404);
      assert.equal(JSON.parse(error.message).error.status, 'NOT_FOUND');
      return true;
    });
  }
});
