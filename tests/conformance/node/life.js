// Lives the life of a ConfigMap with an informer beside it. Prints one JSON document: what the informer saw.
import * as k8s from "@kubernetes/client-node";

const namespace = process.argv[2];
const config = new k8s.KubeConfig();
config.loadFromDefault();
const core = config.makeApiClient(k8s.CoreV1Api);
const seen = [];
const path = `/api/v1/namespaces/${namespace}/configmaps`;
const list = () => core.listNamespacedConfigMap({ namespace, fieldSelector: "metadata.name=life" });
const informer = k8s.makeInformer(config, path, list, undefined, "metadata.name=life");
const until = async (condition) => {
  const deadline = Date.now() + 20000;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`timed out; saw ${JSON.stringify(seen)}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
};
for (const event of ["add", "update", "delete"]) {
  informer.on(event, (one) => seen.push([event, one.data?.a ?? ""]));
}
await informer.start();

await core.createNamespacedConfigMap({ namespace, body: { metadata: { name: "life" }, data: { a: "1" } } });
await until(() => seen.length === 1);
await core.patchNamespacedConfigMap(
  { namespace, name: "life", body: { data: { a: "2" } } },
  k8s.setHeaderOptions("Content-Type", k8s.PatchStrategy.MergePatch),
);
await until(() => seen.length === 2);
const objects = k8s.KubernetesObjectApi.makeApiClient(config);
const applied = { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "life", namespace }, data: { a: "3" } };
const answer = await objects.patch(applied, undefined, undefined, "node", true, k8s.PatchStrategy.ServerSideApply);
await until(() => seen.length === 3);
await core.deleteNamespacedConfigMap({ namespace, name: "life" });
await until(() => seen.length === 4);
let refused = 0;
try {
  await core.readNamespacedConfigMap({ namespace, name: "life" });
} catch (error) {
  refused = error.code;
}
await informer.stop();
console.log(JSON.stringify({ seen, managers: answer.metadata.managedFields.map((one) => one.operation), refused }));
process.exit(0);
