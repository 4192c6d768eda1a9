"""What programs with the Python client from PyPI do, against the cluster of $KUBECONFIG."""

import datetime
import secrets
import threading
import time
import unittest

from kubernetes import client, config, dynamic, utils, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic.exceptions import ConflictError

PATIENCE = 30
NAMESPACE = "python"


def until(what, check):
    """Waits for a condition and gives what it gave."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = check()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"not {what} within {PATIENCE} s")


def config_map(name, **data):
    return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name, labels={"suite": "python"}), data=data)


def deployment(name, replicas, image="busybox"):
    labels = {"app": name}
    container = client.V1Container(name="main", image=image, resources=client.V1ResourceRequirements(requests={"cpu": "10m"}))
    template = client.V1PodTemplateSpec(
        metadata=client.V1ObjectMeta(labels=labels), spec=client.V1PodSpec(containers=[container])
    )
    spec = client.V1DeploymentSpec(
        replicas=replicas, selector=client.V1LabelSelector(match_labels=labels), template=template
    )
    return client.V1Deployment(metadata=client.V1ObjectMeta(name=name), spec=spec)


class Suite(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        config.load_kube_config()
        cls.core, cls.apps = client.CoreV1Api(), client.AppsV1Api()
        cls.core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=NAMESPACE)))

    @classmethod
    def tearDownClass(cls):
        cls.core.delete_namespace(NAMESPACE)

        def gone():
            return NAMESPACE not in [item.metadata.name for item in cls.core.list_namespace().items]

        until("gone", gone)

    def refused(self, status, reason, call, *args, **kwargs):
        with self.assertRaises(ApiException) as caught:
            call(*args, **kwargs)
        self.assertEqual(caught.exception.status, status, caught.exception.body)
        self.assertIn(f'"reason":"{reason}"', caught.exception.body.replace(": ", ":"))
        return caught.exception.body

    def test_the_version_and_the_groups_are_found(self):
        version = client.VersionApi().get_code()
        self.assertEqual(version.major, "1")
        groups = {group.name for group in client.ApisApi().get_api_versions().groups}
        self.assertLessEqual({"apps", "batch", "rbac.authorization.k8s.io", "devices.kubeedge.io"}, groups)

    def test_objects_are_created_read_changed_and_deleted(self):
        made = self.core.create_namespaced_config_map(NAMESPACE, config_map("crud", a="1"))
        self.assertTrue(made.metadata.uid)
        made.data["b"] = "2"
        changed = self.core.replace_namespaced_config_map("crud", NAMESPACE, made)
        self.assertNotEqual(changed.metadata.resource_version, made.metadata.resource_version)
        self.refused(409, "Conflict", self.core.replace_namespaced_config_map, "crud", NAMESPACE, made)
        self.refused(409, "AlreadyExists", self.core.create_namespaced_config_map, NAMESPACE, config_map("crud"))
        merged = self.core.patch_namespaced_config_map("crud", NAMESPACE, {"data": {"a": None, "c": "3"}})
        self.assertEqual(merged.data, {"b": "2", "c": "3"})
        steps = [{"op": "test", "path": "/data/b", "value": "2"}, {"op": "replace", "path": "/data/b", "value": "4"}]
        self.assertEqual(self.core.patch_namespaced_config_map("crud", NAMESPACE, steps).data["b"], "4")
        self.core.delete_namespaced_config_map("crud", NAMESPACE)
        self.refused(404, "NotFound", self.core.read_namespaced_config_map, "crud", NAMESPACE)

    def test_invalid_objects_are_refused_with_the_field(self):
        body = self.refused(422, "Invalid", self.core.create_namespaced_config_map, NAMESPACE, config_map("Not_A_Name"))
        self.assertIn("metadata.name", body)

    def test_long_lists_come_in_pages_of_one_revision(self):
        for number in range(7):
            self.core.create_namespaced_config_map(NAMESPACE, config_map(f"page-{number}"))
        names, token, revisions = [], None, set()
        while True:
            page = self.core.list_namespaced_config_map(
                NAMESPACE, limit=3, _continue=token, label_selector="suite=python,other!=x"
            )
            names += [item.metadata.name for item in page.items if item.metadata.name.startswith("page-")]
            revisions.add(page.metadata.resource_version)
            # Made between the pages, so not of the list's revision.
            if token is None:
                self.core.create_namespaced_config_map(NAMESPACE, config_map("page-9"))
            token = page.metadata._continue
            if not token:
                break
        self.assertEqual(names, [f"page-{number}" for number in range(7)])
        self.assertEqual(len(revisions), 1)

    def test_a_watch_tells_every_change_once_and_resumes_where_it_ended(self):
        start = self.core.list_namespaced_secret(NAMESPACE).metadata.resource_version
        seen, stream = [], watch.Watch()

        def read(revision, count):
            for event in stream.stream(
                self.core.list_namespaced_secret, NAMESPACE, resource_version=revision, timeout_seconds=PATIENCE
            ):
                seen.append((event["type"], event["object"].metadata.name, event["object"].string_data))
                self.last = event["object"].metadata.resource_version
                if len(seen) == count:
                    stream.stop()

        reader = threading.Thread(target=read, args=(start, 2))
        reader.start()
        secret = client.V1Secret(metadata=client.V1ObjectMeta(name="watched"), string_data={"k": "v"})
        self.core.create_namespaced_secret(NAMESPACE, secret)
        self.core.patch_namespaced_secret("watched", NAMESPACE, {"stringData": {"k": "w"}})
        reader.join(PATIENCE)
        self.core.delete_namespaced_secret("watched", NAMESPACE)
        read(self.last, 3)
        self.assertEqual([kind for kind, _, _ in seen], ["ADDED", "MODIFIED", "DELETED"])

    def test_a_watch_from_a_revision_that_is_forgotten_is_told_so(self):
        first = self.core.create_namespaced_config_map(NAMESPACE, config_map("large")).metadata.resource_version
        # More than any server remembers of one kind, however well it packs what it keeps.
        for _ in range(12):
            self.core.patch_namespaced_config_map("large", NAMESPACE, {"data": {"k": secrets.token_urlsafe(675_000)}})
        self.core.delete_namespaced_config_map("large", NAMESPACE)
        with self.assertRaises(ApiException) as caught:
            for _ in watch.Watch().stream(
                self.core.list_namespaced_config_map, NAMESPACE, resource_version=first, timeout_seconds=PATIENCE
            ):
                pass
        self.assertEqual(caught.exception.status, 410)

    def test_a_deployment_makes_pods_scales_and_goes_with_all_of_them(self):
        self.apps.create_namespaced_deployment(NAMESPACE, deployment("web", 2))

        def ready(count):
            status = self.apps.read_namespaced_deployment_status("web", NAMESPACE).status
            return status.ready_replicas == count and status.replicas == count

        until("two are ready", lambda: ready(2))
        scale = self.apps.read_namespaced_deployment_scale("web", NAMESPACE)
        scale.spec.replicas = 3
        self.apps.replace_namespaced_deployment_scale("web", NAMESPACE, scale)
        until("three are ready", lambda: ready(3))
        now = datetime.datetime.now(datetime.timezone.utc).isoformat()
        restart = {"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": now}}}}}
        self.apps.patch_namespaced_deployment("web", NAMESPACE, restart)

        def rolled_out():
            got = self.apps.read_namespaced_deployment("web", NAMESPACE)
            status = got.status
            counts = (status.updated_replicas, status.available_replicas, status.replicas)
            return status.observed_generation == got.metadata.generation and counts == (3, 3, 3)

        until("rolled out", rolled_out)
        self.apps.delete_namespaced_deployment("web", NAMESPACE, propagation_policy="Foreground")
        left = "app=web"
        until("deleted", lambda: not self.core.list_namespaced_pod(NAMESPACE, label_selector=left).items)
        until("deleted", lambda: not self.apps.list_namespaced_replica_set(NAMESPACE, label_selector=left).items)

    def test_a_job_completes_and_is_waited_for_by_a_watch(self):
        batch = client.BatchV1Api()
        container = client.V1Container(name="main", image="busybox", command=["true"])
        # The nodes of this suite end such pods at once.
        meta = client.V1ObjectMeta(annotations={"agent/exit": "0"})
        template = client.V1PodTemplateSpec(
            metadata=meta, spec=client.V1PodSpec(containers=[container], restart_policy="Never")
        )
        job = client.V1Job(metadata=client.V1ObjectMeta(name="once"), spec=client.V1JobSpec(template=template))
        batch.create_namespaced_job(NAMESPACE, job)
        stream = watch.Watch()
        for event in stream.stream(batch.list_namespaced_job, NAMESPACE, timeout_seconds=PATIENCE):
            if event["object"].status.succeeded == 1 and event["object"].status.completion_time:
                stream.stop()
                return
        self.fail("the job did not complete")

    def test_the_dynamic_client_finds_kinds_and_applies_on_the_server(self):
        found = dynamic.DynamicClient(client.ApiClient())
        maps = found.resources.get(api_version="v1", kind="ConfigMap")

        def apply(manager, value, **options):
            body = {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "applied", "namespace": NAMESPACE},
                "data": value,
            }
            return maps.server_side_apply(body=body, field_manager=manager, **options)

        apply("one", {"a": "1", "b": "1"})
        with self.assertRaises(ConflictError):
            apply("two", {"a": "2"})
        taken = apply("two", {"a": "2"}, force_conflicts=True)
        self.assertEqual(taken.data.a, "2")
        managers = {entry.manager: entry.operation for entry in taken.metadata.managedFields}
        self.assertEqual(managers, {"one": "Apply", "two": "Apply"})
        self.assertIsNone(apply("one", {}).data.b)

    def test_custom_resources_are_defined_used_and_refused_by_their_schema(self):
        names = {"plural": "boats", "singular": "boat", "kind": "Boat", "listKind": "BoatList"}
        schema = {
            "type": "object",
            "properties": {
                "spec": {
                    "type": "object",
                    "required": ["sails"],
                    "properties": {"sails": {"type": "integer", "minimum": 1}, "name": {"type": "string", "default": "Skerry"}},
                },
                "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            },
        }
        version = {
            "name": "v1",
            "served": True,
            "storage": True,
            "schema": {"openAPIV3Schema": schema},
            "subresources": {"status": {}},
        }
        definition = {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": "boats.python.test"},
            "spec": {"group": "python.test", "scope": "Namespaced", "names": names, "versions": [version]},
        }
        extensions = client.ApiextensionsV1Api()
        extensions.create_custom_resource_definition(definition)

        def established():
            got = extensions.read_custom_resource_definition("boats.python.test")
            return any(c.type == "Established" and c.status == "True" for c in got.status.conditions or [])

        until("established", established)
        boats, place = client.CustomObjectsApi(), ("python.test", "v1", NAMESPACE, "boats")
        boat = {"apiVersion": "python.test/v1", "kind": "Boat", "metadata": {"name": "one"}, "spec": {"sails": 2}}
        made = boats.create_namespaced_custom_object(*place, boat)
        self.assertEqual(made["spec"], {"sails": 2, "name": "Skerry"})
        boats.patch_namespaced_custom_object_status(*place, "one", {"status": {"at": "sea"}})
        self.assertEqual(boats.get_namespaced_custom_object(*place, "one")["status"], {"at": "sea"})
        boat["metadata"]["name"], boat["spec"]["sails"] = "none", 0
        body = self.refused(422, "Invalid", boats.create_namespaced_custom_object, *place, boat)
        self.assertIn("spec.sails", body)
        extensions.delete_custom_resource_definition("boats.python.test")

    def test_files_of_many_documents_are_applied(self):
        documents = [
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "file", "namespace": NAMESPACE}},
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "Role",
                "metadata": {"name": "file", "namespace": NAMESPACE},
                "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}],
            },
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": "file", "namespace": NAMESPACE},
                "spec": {"selector": {"app": "file"}, "ports": [{"port": 80, "targetPort": "http"}]},
            },
        ]
        utils.create_from_yaml(client.ApiClient(), yaml_objects=documents)
        service = self.core.read_namespaced_service("file", NAMESPACE)
        self.assertTrue(service.spec.cluster_ip)

    def test_a_service_account_with_a_role_may_do_that_and_nothing_else(self):
        self.core.create_namespaced_service_account(NAMESPACE, client.V1ServiceAccount(metadata=client.V1ObjectMeta(name="reader")))
        rbac = client.RbacAuthorizationV1Api()
        rules = [client.V1PolicyRule(api_groups=[""], resources=["configmaps"], verbs=["get", "list"])]
        rbac.create_namespaced_role(NAMESPACE, client.V1Role(metadata=client.V1ObjectMeta(name="reader"), rules=rules))
        binding = client.V1RoleBinding(
            metadata=client.V1ObjectMeta(name="reader"),
            role_ref=client.V1RoleRef(api_group="rbac.authorization.k8s.io", kind="Role", name="reader"),
            subjects=[client.RbacV1Subject(kind="ServiceAccount", name="reader", namespace=NAMESPACE)],
        )
        rbac.create_namespaced_role_binding(NAMESPACE, binding)
        request = client.AuthenticationV1TokenRequest(spec=client.V1TokenRequestSpec(audiences=[], expiration_seconds=600))
        token = self.core.create_namespaced_service_account_token("reader", NAMESPACE, request).status.token
        own = client.Configuration.get_default_copy()
        own.cert_file = own.key_file = None
        own.api_key = {"authorization": f"Bearer {token}"}
        api = client.ApiClient(own)
        reader = client.CoreV1Api(api)
        reader.list_namespaced_config_map(NAMESPACE)
        self.refused(403, "Forbidden", reader.list_namespaced_secret, NAMESPACE)
        self.refused(403, "Forbidden", reader.list_namespaced_config_map, "default")
        attributes = client.V1ResourceAttributes(namespace=NAMESPACE, verb="delete", resource="configmaps")
        review = client.V1SelfSubjectAccessReview(spec=client.V1SelfSubjectAccessReviewSpec(resource_attributes=attributes))
        self.assertFalse(client.AuthorizationV1Api(api).create_self_subject_access_review(review).status.allowed)

    def test_leases_elect_one_leader(self):
        leases = client.CoordinationV1Api()
        spec = client.V1LeaseSpec(holder_identity="one", lease_duration_seconds=15, renew_time=datetime.datetime.now(datetime.timezone.utc))
        lease = client.V1Lease(metadata=client.V1ObjectMeta(name="leader"), spec=spec)
        made = leases.create_namespaced_lease(NAMESPACE, lease)
        renewed = leases.read_namespaced_lease("leader", NAMESPACE)
        renewed.spec.renew_time = datetime.datetime.now(datetime.timezone.utc)
        leases.replace_namespaced_lease("leader", NAMESPACE, renewed)
        made.spec.holder_identity = "two"
        self.refused(409, "Conflict", leases.replace_namespaced_lease, "leader", NAMESPACE, made)

    def test_a_collection_is_deleted_by_its_labels(self):
        for name in ("sweep-1", "sweep-2"):
            body = config_map(name)
            body.metadata.labels = {"sweep": "yes"}
            self.core.create_namespaced_config_map(NAMESPACE, body)
        self.core.delete_collection_namespaced_config_map(NAMESPACE, label_selector="sweep=yes")
        self.assertEqual(self.core.list_namespaced_config_map(NAMESPACE, label_selector="sweep=yes").items, [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
