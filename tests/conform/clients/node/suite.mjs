// What programs with the JavaScript client from npm do, against the cluster of $KUBECONFIG. Run with `node --test`.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { after, before, test } from 'node:test';

// The packages are installed beside a copy of package.json, in the directory that $CLIENT_NODE names.
const require = createRequire(`${process.env.CLIENT_NODE}/`);
const k8s = await import(pathToFileURL(require.resolve('@kubernetes/client-node')));

const PATIENCE = 30_000;
const namespace = 'javascript';
const config = new k8s.KubeConfig();
config.loadFromDefault();
const core = config.makeApiClient(k8s.CoreV1Api);
const apps = config.makeApiClient(k8s.AppsV1Api);

/** Waits for a condition and gives what it gave. */
async function until(what, check) {
  const deadline = Date.now() + PATIENCE;
  while (Date.now() < deadline) {
    const found = await check();
    if (found) return found;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.fail(`not ${what} within ${PATIENCE} ms`);
}

/** The call must be refused with a Status. */
async function refused(code, reason, call) {
  const error = await call.then(() => assert.fail('it was not refused'), (error) => error);
  assert.equal(error.code, code, String(error));
  const status = typeof error.body === 'string' ? JSON.parse(error.body) : error.body;
  assert.equal(status.kind, 'Status');
  assert.equal(status.reason, reason);
  return status;
}

function deployment(name, replicas) {
  const labels = { app: name };
  return {
    metadata: { name, labels },
    spec: {
      replicas,
      selector: { matchLabels: labels },
      template: { metadata: { labels }, spec: { containers: [{ name: 'main', image: 'busybox' }] } },
    },
  };
}

before(() => core.createNamespace({ body: { metadata: { name: namespace } } }));

after(async () => {
  await core.deleteNamespace({ name: namespace });
  await until('gone', async () => {
    const { items } = await core.listNamespace();
    return !items.some((item) => item.metadata.name === namespace);
  });
});

test('the version is told and the groups are found', async () => {
  const version = await config.makeApiClient(k8s.VersionApi).getCode();
  assert.equal(version.major, '1');
  const { groups } = await config.makeApiClient(k8s.ApisApi).getAPIVersions();
  assert.ok(groups.some((group) => group.name === 'devices.kubeedge.io'));
});

test('objects are created, read, changed and deleted', async () => {
  const at = { name: 'crud', namespace };
  const made = await core.createNamespacedConfigMap({ namespace, body: { metadata: { name: 'crud' }, data: { a: '1' } } });
  assert.ok(made.metadata.creationTimestamp instanceof Date);
  made.data.b = '2';
  await core.replaceNamespacedConfigMap({ ...at, body: made });
  made.data.b = '3';
  await refused(409, 'Conflict', core.replaceNamespacedConfigMap({ ...at, body: made }));
  const body = [{ op: 'replace', path: '/data/b', value: '4' }];
  const patched = await core.patchNamespacedConfigMap({ ...at, body });
  assert.deepEqual(patched.data, { a: '1', b: '4' });
  await core.deleteNamespacedConfigMap(at);
  await refused(404, 'NotFound', core.readNamespacedConfigMap(at));
});

test('invalid objects are refused with the field', async () => {
  const body = { metadata: { name: 'Not_A_Name' } };
  const status = await refused(422, 'Invalid', core.createNamespacedConfigMap({ namespace, body }));
  assert.equal(status.details.causes[0].field, 'metadata.name');
});

test('patches of every kind are taken', async () => {
  await apps.createNamespacedDeployment({ namespace, body: deployment('patched', 0) });
  const at = { name: 'patched', namespace };
  const as = (kind) => k8s.setHeaderOptions('Content-Type', kind);
  const extra = { spec: { template: { spec: { containers: [{ name: 'side', image: 'busybox' }] } } } };
  const strategic = await apps.patchNamespacedDeployment({ ...at, body: extra }, as(k8s.PatchStrategy.StrategicMergePatch));
  assert.deepEqual(strategic.spec.template.spec.containers.map(({ name }) => name).sort(), ['main', 'side']);
  const merged = await apps.patchNamespacedDeployment({ ...at, body: extra }, as(k8s.PatchStrategy.MergePatch));
  assert.deepEqual(merged.spec.template.spec.containers.map(({ name }) => name), ['side']);
  const body = { apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'patched' }, spec: { replicas: 0, paused: true } };
  const applied = await apps.patchNamespacedDeployment(
    { ...at, body, fieldManager: 'javascript', force: true },
    as(k8s.PatchStrategy.ServerSideApply),
  );
  assert.equal(applied.spec.paused, true);
  assert.ok(applied.metadata.managedFields.some((entry) => entry.manager === 'javascript' && entry.operation === 'Apply'));
});

test('an informer sees what was there, what comes and what goes', async () => {
  const list = () => core.listNamespacedSecret({ namespace });
  await core.createNamespacedSecret({ namespace, body: { metadata: { name: 'before' } } });
  const informer = k8s.makeInformer(config, `/api/v1/namespaces/${namespace}/secrets`, list);
  const seen = [];
  for (const kind of ['add', 'update', 'delete']) {
    informer.on(kind, (object) => seen.push(`${kind} ${object.metadata.name}`));
  }
  informer.on('error', (error) => seen.push(`error ${error}`));
  await informer.start();
  await core.createNamespacedSecret({ namespace, body: { metadata: { name: 'later' } } });
  const body = [{ op: 'add', path: '/metadata/labels', value: { changed: 'yes' } }];
  await core.patchNamespacedSecret({ name: 'later', namespace, body });
  await core.deleteNamespacedSecret({ name: 'later', namespace });
  await until('told', () => seen.includes('delete later'));
  // Stopping it is an error to it.
  const told = [...seen];
  await informer.stop();
  assert.deepEqual(told, ['add before', 'add later', 'update later', 'delete later']);
});

test('a watch tells changes from a revision on', async () => {
  const { metadata } = await core.listNamespacedServiceAccount({ namespace });
  const seen = [];
  const watch = new k8s.Watch(config);
  const path = `/api/v1/namespaces/${namespace}/serviceaccounts`;
  const request = await watch.watch(
    path,
    { resourceVersion: metadata.resourceVersion, allowWatchBookmarks: true },
    (kind, object) => seen.push([kind, object.metadata.name]),
    () => {},
  );
  await core.createNamespacedServiceAccount({ namespace, body: { metadata: { name: 'watched' } } });
  await until('told', () => seen.some(([kind, name]) => kind === 'ADDED' && name === 'watched'));
  request.abort();
});

test('a deployment makes pods, scales and goes with all of them', async () => {
  const at = { name: 'web', namespace };
  await apps.createNamespacedDeployment({ namespace, body: deployment('web', 2) });
  const ready = async (count) => (await apps.readNamespacedDeployment(at)).status.readyReplicas === count;
  await until('two are ready', () => ready(2));
  const scale = await apps.readNamespacedDeploymentScale(at);
  scale.spec.replicas = 1;
  await apps.replaceNamespacedDeploymentScale({ ...at, body: scale });
  await until('one is ready', () => ready(1));
  await apps.deleteNamespacedDeployment({ ...at, propagationPolicy: 'Background' });
  const labelSelector = 'app=web';
  await until('gone', async () => (await core.listNamespacedPod({ namespace, labelSelector })).items.length === 0);
});

test('the object client applies manifests of any kind', async () => {
  const objects = k8s.KubernetesObjectApi.makeApiClient(config);
  const manifest = k8s.loadYaml(`
    apiVersion: v1
    kind: Service
    metadata: {name: any, namespace: ${namespace}}
    spec: {selector: {app: any}, ports: [{port: 80}]}
  `);
  const made = await objects.create(manifest);
  assert.ok(made.spec.clusterIP);
  const read = await objects.read(manifest);
  read.spec.ports[0].targetPort = 8080;
  const replaced = await objects.replace(read);
  assert.equal(replaced.spec.ports[0].targetPort, 8080);
  await objects.delete(manifest);
  await refused(404, 'NotFound', objects.read(manifest));
});

test('custom resources are listed and changed', async () => {
  const custom = config.makeApiClient(k8s.CustomObjectsApi);
  const place = { group: 'devices.kubeedge.io', version: 'v1beta1', namespace, plural: 'devicemodels' };
  const body = {
    apiVersion: 'devices.kubeedge.io/v1beta1',
    kind: 'DeviceModel',
    metadata: { name: 'thermometer' },
    spec: { properties: [{ name: 'temperature', type: 'FLOAT', accessMode: 'ReadOnly' }] },
  };
  await custom.createNamespacedCustomObject({ ...place, body });
  const { items } = await custom.listNamespacedCustomObject(place);
  assert.deepEqual(items.map((item) => item.metadata.name), ['thermometer']);
  body.spec.properties[0].type = 7;
  body.metadata.name = 'wrong';
  await refused(422, 'Invalid', custom.createNamespacedCustomObject({ ...place, body }));
});
