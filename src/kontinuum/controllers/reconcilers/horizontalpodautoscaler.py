"""HorizontalPodAutoscalers: as many replicas as their metrics ask for, within bounds, and not too fast.

    metrics ──scaling_ratio──▶ a proposal each ──choose──▶ the largest ──scaling_limits──▶ what is written to ``scale``

Any kind with a ``scale`` subresource can be the target. Reasons and messages are those of Kubernetes'
``pkg/controller/podautoscaler``.
"""

from __future__ import annotations

from dataclasses import dataclass

from kontinuum.api.kubernetes.resources import HORIZONTALPODAUTOSCALERS, PODS
from kontinuum.api.machinery import quantity
from kontinuum.api.machinery.conditions import set_condition
from kontinuum.api.machinery.objects import Object, key_of, labels_of, namespace_of
from kontinuum.api.machinery.resources import Resource
from kontinuum.api.machinery.selectors import LabelSelector, from_object, parse_labels
from kontinuum.api.machinery.status import ApiError
from kontinuum.client.discovery import find_kind
from kontinuum.client.reconcile import DONE, Result
from kontinuum.client.writes import Writer
from kontinuum.controllers.context import Context, selected
from kontinuum.controllers.frame import KeyReconciler
from kontinuum.controllers.lib import scaling_limits, scaling_ratio
from kontinuum.controllers.lib.scaling_limits import History
from kontinuum.controllers.lib.scaling_metrics import Measured, Unmeasured, as_go, choose, measured, unmeasured
from kontinuum.controllers.lib.scaling_ratio import Proposal, Situation, Unknown
from kontinuum.controllers.metrics import Metrics
from kontinuum.foundation.clock import rfc3339

ABLE, ACTIVE, LIMITED = "AbleToScale", "ScalingActive", "ScalingLimited"


@dataclass(slots=True)
class _Draft:
    """The status that is being found."""

    status: Object
    now: str

    def say(self, kind: str, value: bool, reason: str, message: str) -> None:
        self.status["conditions"] = set_condition(
            self.status.get("conditions"), kind, value, now=self.now, reason=reason, message=message
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Target:
    """What is scaled: its resource, and its Scale as it is now."""

    resource: Resource
    scale: Object

    @property
    def wanted(self) -> int:
        return int((self.scale.get("spec") or {}).get("replicas") or 0)

    @property
    def present(self) -> int:
        return int((self.scale.get("status") or {}).get("replicas") or 0)


class HorizontalPodAutoscalerReconciler(KeyReconciler):
    """The hand that reads metrics and scales."""

    name = "horizontalpodautoscaler"

    def __init__(self, context: Context) -> None:
        super().__init__(context, HORIZONTALPODAUTOSCALERS, writes=(HORIZONTALPODAUTOSCALERS,))
        self._events = context.recorder("horizontal-pod-autoscaler")
        self._metrics = Metrics(context.client)
        self._pods = context.informer(PODS)
        self._kinds: dict[tuple[str, str], Resource] = {}
        self._histories: dict[str, History] = {}
        self._selectors: dict[str, LabelSelector] = {}
        """Whose pods each autoscaler looks at."""

    async def reconcile(self, key: str) -> Result:
        """Look at one target's metrics and scale it, every so often."""
        autoscaler = self._objects.get(key)
        if autoscaler is None:
            self._histories.pop(key, None)
            self._selectors.pop(key, None)
            return DONE
        draft = _Draft(dict(autoscaler.get("status") or {}), rfc3339(self._context.clock.time()))
        draft.status.setdefault("desiredReplicas", 0)
        if generation := autoscaler["metadata"].get("generation"):
            draft.status["observedGeneration"] = generation
        await self._scale(autoscaler, draft)
        if draft.status != (autoscaler.get("status") or {}):
            await self._write(autoscaler, draft.status)
        return Result(self._context.settings.autoscaling_seconds)

    async def _scale(self, autoscaler: Object, draft: _Draft) -> None:
        try:
            target = await self._target_of(autoscaler)
        except (ApiError, Unknown) as error:
            self._warn(autoscaler, "FailedGetScale", str(error))
            problem = f"the HPA controller was unable to get the target's current scale: {error}"
            draft.say(ABLE, False, "FailedGetScale", problem)
            return
        able = "the HPA controller was able to get the target's current scale"
        draft.say(ABLE, True, "SucceededGetScale", able)
        current = draft.status["currentReplicas"] = target.wanted
        history = self._histories.setdefault(key_of(autoscaler), History())
        if not history.recommendations:
            # Whoever has just begun to look shrinks nothing before the window has passed.
            history.recommend(self._context.clock.time(), current)
        least, most = _bounds(autoscaler)
        if current == 0 and least != 0:
            disabled = "scaling is disabled since the replica count of the target is zero"
            draft.say(ACTIVE, False, "ScalingDisabled", disabled)
            found: tuple[int, str] | None = (current, "")
            draft.status.pop("currentMetrics", None)
        elif current > most or current < least:
            draft.status.pop("currentMetrics", None)
            found = (most, "Current number of replicas above Spec.MaxReplicas") if current > most else (
                least, "Current number of replicas below Spec.MinReplicas",
            )  # fmt: skip
        else:
            found = await self._asked(autoscaler, target, history, draft)
        if found is None:
            return
        replicas, why = found
        if replicas != current:
            await self._rescale(autoscaler, target, replicas, why, history, draft)
        else:
            draft.status["desiredReplicas"] = current

    async def _target_of(self, autoscaler: Object) -> _Target:
        """Raises Unknown, ApiError."""
        reference = autoscaler["spec"]["scaleTargetRef"]
        group, _, _ = (reference.get("apiVersion") or "").rpartition("/")
        resource = await self._kind(group, reference["kind"])
        if resource is None:
            raise Unknown(f'no matches for kind "{reference["kind"]}" in group "{group}"')
        try:
            scale = await self._client.get(
                resource, reference["name"], namespace=namespace_of(autoscaler), subresource="scale"
            )  # fmt: skip
        except ApiError as error:
            if error.is_not_found:
                # The kind may be served otherwise by now.
                self._kinds.pop((group, reference["kind"]), None)
            raise
        return _Target(resource, scale)

    async def _kind(self, group: str, kind: str) -> Resource | None:
        if (group, kind) not in self._kinds:
            found = await find_kind(self._client, group, kind)
            if found is None:
                return None
            self._kinds[group, kind] = found
        return self._kinds[group, kind]

    async def _asked(
        self, autoscaler: Object, target: _Target, history: History, draft: _Draft
    ) -> tuple[int, str] | None:  # fmt: skip
        """How many replicas the metrics ask for, and why; None: that is not known, and nothing is to be done."""
        text = (target.scale.get("status") or {}).get("selector") or ""
        try:
            pods = self._pods_of(autoscaler, text, draft)
        except Unknown as error:
            self._warn(autoscaler, "FailedComputeMetricsReplicas", str(error))
            return None
        now = self._context.clock.time()
        settings = self._context.settings
        situation = Situation(
            target.wanted,
            target.present,
            pods,
            now,
            tolerance=scaling_limits.tolerance_of(autoscaler, settings.autoscaling_tolerance),
            initialization_seconds=settings.autoscaling_cpu_initialization_seconds,
            readiness_delay_seconds=settings.autoscaling_initial_readiness_seconds,
        )
        metrics = autoscaler["spec"].get("metrics") or ()
        found = [await self._measure(autoscaler, metric, situation, text) for metric in metrics]
        draft.status["currentMetrics"] = [one.status for one in found if isinstance(one, Measured)]
        choice = choose(found, target.wanted)
        if not draft.status["currentMetrics"]:
            del draft.status["currentMetrics"]
        if choice.problem:
            self._warn(autoscaler, "FailedComputeMetricsReplicas", choice.problem)
        if choice.replicas is None:
            if choice.first is not None:
                problem = f"the HPA was unable to compute the replica count: {choice.first.problem}"
                draft.say(ACTIVE, False, choice.first.reason, problem)
            return None
        valid = f"the HPA was able to successfully calculate a replica count from {choice.name}"
        draft.say(ACTIVE, True, "ValidMetricFound", valid)
        window = settings.autoscaling_down_window_seconds
        behavior = scaling_limits.behavior_of(autoscaler, window)
        verdict = scaling_limits.limit(
            choice.replicas, target.wanted, _bounds(autoscaler), behavior, history, now, down_window=window
        )  # fmt: skip
        history.recommend(now, choice.replicas)
        draft.say(ABLE, True, *verdict.able)
        draft.say(LIMITED, verdict.is_limited, *verdict.limited)
        return verdict.replicas, _why(choice.replicas, target.wanted, choice.name)

    def _pods_of(self, autoscaler: Object, text: str, draft: _Draft) -> list[Object]:
        """Those that the target's Scale selects. Raises Unknown."""
        if not text:
            self._warn(autoscaler, "SelectorRequired", "selector is required")
            draft.say(ACTIVE, False, "InvalidSelector", "the HPA target's scale is missing a selector")
            raise Unknown("selector is required")
        try:
            selector = parse_labels(text)
        except ApiError as error:
            problem = f"couldn't convert selector into a corresponding internal selector object: {error}"
            raise self._unusable(autoscaler, draft, "InvalidSelector", problem) from error
        self._selectors[key_of(autoscaler)] = selector
        pods = selected(self._pods, namespace_of(autoscaler), selector)
        rivals = self._who_select(pods, namespace_of(autoscaler))
        if len(rivals) > 1:
            problem = f"pods by selector {text} are controlled by multiple HPAs: [{' '.join(rivals)}]"
            raise self._unusable(autoscaler, draft, "AmbiguousSelector", problem)
        return pods

    def _who_select(self, pods: list[Object], namespace: str) -> list[str]:
        """The keys of the namespace's autoscalers that look at any of the pods."""
        mine = {key: one for key, one in self._selectors.items() if key.startswith(f"{namespace}/")}
        # The pods of one target mostly have the same labels.
        labels = [dict(one) for one in {tuple(sorted(labels_of(pod).items())) for pod in pods}]
        return sorted(key for key, one in mine.items() if any(map(one.matches, labels)))

    def _unusable(self, autoscaler: Object, draft: _Draft, reason: str, problem: str) -> Unknown:
        self._warn(autoscaler, reason, problem)
        draft.say(ACTIVE, False, reason, problem)
        return Unknown(problem)

    async def _measure(
        self, autoscaler: Object, metric: Object, situation: Situation, selector: str
    ) -> Measured | Unmeasured:  # fmt: skip
        try:
            return measured(metric, await self._proposal(metric, situation, namespace_of(autoscaler), selector))
        except Unknown as error:
            found = unmeasured(metric, str(error))
            self._warn(autoscaler, found.reason, found.problem)
            return found

    async def _proposal(self, metric: Object, situation: Situation, namespace: str, selector: str) -> Proposal:
        """Raises Unknown."""
        match metric["type"]:
            case "Resource":
                return await self._by_resource(metric["resource"], "", situation, namespace, selector)
            case "ContainerResource":
                source = metric["containerResource"]
                return await self._by_resource(source, source["container"], situation, namespace, selector)
            case "Pods":
                return await self._by_pods(metric["pods"], situation, namespace, selector)
            case "Object":
                source = metric["object"]
                value = await self._object_value(source, namespace)
            case _:
                source = metric["external"]
                value = await self._external_value(source["metric"], namespace)
        target = source["target"]
        if target["type"] == "Value":
            return scaling_ratio.by_value(situation, value, quantity.milli(target["value"]))
        return scaling_ratio.by_share(situation, value, quantity.milli(target["averageValue"]))

    async def _by_resource(
        self, source: Object, container: str, situation: Situation, namespace: str, selector: str
    ) -> Proposal:  # fmt: skip
        name, target = source["name"], source["target"]
        try:
            samples = await self._metrics.of_resource(namespace, selector, name, container)
        except Unknown as error:
            raise Unknown(f"unable to get metrics for resource {name}: {error}") from error
        if target.get("averageValue") is not None:
            amount = quantity.milli(target["averageValue"])
            return scaling_ratio.by_average(situation, samples, amount, resource=name)
        percent = target["averageUtilization"]
        return scaling_ratio.by_utilization(situation, samples, percent, resource=name, container=container)

    async def _by_pods(self, source: Object, situation: Situation, namespace: str, selector: str) -> Proposal:
        name, chosen = source["metric"]["name"], str(from_object(source["metric"].get("selector") or {}))
        try:
            samples = await self._metrics.of_pods(namespace, selector, name, chosen)
        except Unknown as error:
            raise Unknown(f"unable to get metric {name}: {error}") from error
        return scaling_ratio.by_average(situation, samples, quantity.milli(source["target"]["averageValue"]))

    async def _object_value(self, source: Object, namespace: str) -> int:
        name, chosen = source["metric"]["name"], str(from_object(source["metric"].get("selector") or {}))
        described = source["describedObject"]
        kind, group = described["kind"], (described.get("apiVersion") or "").rpartition("/")[0]
        try:
            resource = await self._kind(group, kind)
            if resource is None:
                raise Unknown(f'no matches for kind "{kind}" in group "{group}"')
            return await self._metrics.of_object(namespace, resource, described["name"], name, chosen)
        except Unknown as error:
            where = f"{kind} on {namespace} {described['name']}"
            raise Unknown(f"unable to get metric {name}: {where}/{error}") from error

    async def _external_value(self, metric: Object, namespace: str) -> int:
        name, selector = metric["name"], metric.get("selector")
        try:
            return await self._metrics.from_outside(namespace, name, str(from_object(selector or {})))
        except Unknown as error:
            raise Unknown(f"unable to get external metric {namespace}/{name}/{as_go(selector)}: {error}") from error

    async def _rescale(
        self, autoscaler: Object, target: _Target, replicas: int, why: str, history: History, draft: _Draft
    ) -> None:  # fmt: skip
        current = target.wanted
        scale = {**target.scale, "spec": {**(target.scale.get("spec") or {}), "replicas": replicas}}
        try:
            await self._client.update(target.resource, scale, subresource="scale")
        except ApiError as error:
            self._warn(autoscaler, "FailedRescale", f"New size: {replicas}; reason: {why}; error: {error}")
            problem = f"the HPA controller was unable to update the target scale: {error}"
            draft.say(ABLE, False, "FailedUpdateScale", problem)
            return
        done = f"the HPA controller was able to update the target scale to {replicas}"
        draft.say(ABLE, True, "SucceededRescale", done)
        self._events.event(autoscaler, "Normal", "SuccessfulRescale", f"New size: {replicas}; reason: {why}")
        history.scale(self._context.clock.time(), replicas - current)
        draft.status |= {"desiredReplicas": replicas, "lastScaleTime": draft.now}

    async def _write(self, autoscaler: Object, status: Object) -> None:
        writer = Writer(self._client, self._writes, key_of(autoscaler))
        try:
            await writer.update(HORIZONTALPODAUTOSCALERS, {**autoscaler, "status": status}, subresource="status")
        except ApiError as error:
            self._warn(autoscaler, "FailedUpdateStatus", str(error))
            raise

    def _warn(self, autoscaler: Object, reason: str, message: str) -> None:
        self._events.event(autoscaler, "Warning", reason, message)

    def _object_changed(self, change: str, obj: Object, old: Object | None) -> None:
        """Its own status is no news: the next look comes when it is due."""
        if change == "deleted" or old is None or obj["spec"] != old["spec"]:
            super()._object_changed(change, obj, old)


def _why(asked: int, wanted: int, metric: str) -> str:
    """What events say; nothing when it is an earlier recommendation that is followed now, as in Kubernetes."""
    if asked > wanted:
        return f"{metric} above target"
    return "All metrics below target" if asked < wanted else ""


def _bounds(autoscaler: Object) -> tuple[int, int]:
    """The least and the most replicas."""
    spec = autoscaler["spec"]
    least = spec.get("minReplicas")
    return 1 if least is None else int(least), int(spec["maxReplicas"])
