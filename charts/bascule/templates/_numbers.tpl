{{/*
Numbers that depend on one another: durations, the drain, forwarders, memory.
*/}}

{{/* Seconds of a duration: a number, or "500ms", "30s", "5m", "1h"; rounded up to whole seconds. */}}
{{- define "bascule.seconds" -}}
{{- $text := toString . -}}
{{- if regexMatch "^[0-9.]+ms$" $text -}}
{{- divf (trimSuffix "ms" $text | float64) 1000 | ceil | int64 -}}
{{- else if hasSuffix "s" $text -}}
{{- trimSuffix "s" $text | float64 | ceil | int64 -}}
{{- else if hasSuffix "m" $text -}}
{{- mulf (trimSuffix "m" $text | float64) 60 | ceil | int64 -}}
{{- else if hasSuffix "h" $text -}}
{{- mulf (trimSuffix "h" $text | float64) 3600 | ceil | int64 -}}
{{- else -}}
{{- $text | float64 | ceil | int64 -}}
{{- end -}}
{{- end -}}

{{/*
The five keys of the pool. A platform's file may have the path with every key commented out, which is null
and takes the defaults away with it.
*/}}
{{- define "bascule.pool" -}}
{{- $pool := dig "payara" "websocketProxy" nil (default dict .Values.hopsworks) -}}
{{- if lt (len (default dict $pool)) 5 -}}
{{- fail "hopsworks.payara.websocketProxy or a key in it is empty in a values file: leave it out to have the default" -}}
{{- end -}}
{{- toYaml $pool -}}
{{- end -}}

{{/* The cap of one pod. */}}
{{- define "bascule.cap" -}}
{{- get (include "bascule.pool" . | fromYaml) "maxSessionsPerApp" | int64 -}}
{{- end -}}

{{/*
Seconds a stop may take inside the proxy. Computed so that a full pod is never cut short: raising the
cap alone must not turn a drain into an abort.
*/}}
{{- define "bascule.drainSeconds" -}}
{{- $drain := .Values.drain -}}
{{- $natural := include "bascule.seconds" $drain.naturalEnd | int64 -}}
{{- if not (kindIs "invalid" $drain.timeout) -}}
{{- $timeout := include "bascule.seconds" $drain.timeout | int64 -}}
{{- if gt $natural $timeout -}}
{{- fail (printf "drain.naturalEnd is %d s and drain.timeout %d s: nobody would be told before being cut" $natural $timeout) -}}
{{- end -}}
{{- $timeout -}}
{{- else -}}
{{- $closing := 0 -}}
{{- if not (kindIs "invalid" $drain.window) -}}
{{- $closing = include "bascule.seconds" $drain.window | int64 -}}
{{- else if gt ($drain.rate | float64) 0.0 -}}
{{- $closing = divf (include "bascule.cap" . | float64) ($drain.rate | float64) | ceil | int64 -}}
{{- end -}}
{{- $handshake := include "bascule.seconds" .Values.limits.closingHandshakeTimeout | int64 -}}
{{- /* The proxy keeps the last tenth of the time for closing handshakes. */ -}}
{{- $spread := divf (add $natural $closing) 0.9 | ceil | int64 -}}
{{- /* Ten years are the longest duration the proxy takes. */ -}}
{{- min 315360000 (max 30 (add $spread $handshake)) -}}
{{- end -}}
{{- end -}}

{{/*
Seconds a stop may wait for Prometheus to read how it ended: its interval, and some for the scrape itself.
*/}}
{{- define "bascule.lastScrapeSeconds" -}}
{{- if not (kindIs "invalid" .Values.drain.lastScrape) -}}
{{- include "bascule.seconds" .Values.drain.lastScrape -}}
{{- else -}}
{{- $seconds := 0 -}}
{{- range list .Values.serviceMonitor .Values.podMonitor -}}
{{- if .enabled -}}
{{- $seconds = add 5 (include "bascule.seconds" .interval) -}}
{{- end -}}
{{- end -}}
{{- $seconds -}}
{{- end -}}
{{- end -}}

{{- define "bascule.preStopSeconds" -}}
{{- include "bascule.seconds" .Values.shutdown.preStopDelay -}}
{{- end -}}

{{/* preStop delay + drain + last scrape + margin: the kubelet must never be the one who ends a drain. */}}
{{- define "bascule.graceSeconds" -}}
{{- $needed := add (include "bascule.preStopSeconds" .) (include "bascule.drainSeconds" .) (include "bascule.lastScrapeSeconds" .) (include "bascule.seconds" .Values.shutdown.margin) -}}
{{- $asked := .Values.shutdown.terminationGracePeriodSeconds -}}
{{- if kindIs "invalid" $asked -}}
{{- $needed -}}
{{- else if lt ($asked | int64) $needed -}}
{{- fail (printf "shutdown.terminationGracePeriodSeconds is %d, but preStopDelay, the drain, its last scrape and margin need %d: the kubelet would cut live sessions" ($asked | int64) $needed) -}}
{{- else -}}
{{- $asked | int64 -}}
{{- end -}}
{{- end -}}

{{/* Whole cores of a CPU quantity such as "2", 1.5 or "500m", at least one. */}}
{{- define "bascule.cores" -}}
{{- max 1 (include "bascule.quantity" . | float64 | ceil | int64) -}}
{{- end -}}

{{/*
Forwarders of one pod. A container sees every core of its node, so the number comes from its own CPU
limit, or else its request, and stays under the pool's own bound. A request is what the pod is sure to get, not
all it may use, and the death of one of two forwarders leaves half of the sessions: so without a limit at least two.
*/}}
{{- define "bascule.forwarders" -}}
{{- $count := .Values.forwarders.count -}}
{{- if kindIs "invalid" $count -}}
{{- $resources := default dict .Values.resources -}}
{{- $requests := default dict $resources.requests -}}
{{- $limits := default dict $resources.limits -}}
{{- if $limits.cpu -}}
{{- $count = include "bascule.cores" $limits.cpu -}}
{{- else -}}
{{- $count = max 2 (include "bascule.cores" (default 1 $requests.cpu)) -}}
{{- end -}}
{{- end -}}
{{- min ($count | int64) (get (include "bascule.pool" . | fromYaml) "grizzlyWorkerPoolMaxSize" | int64) -}}
{{- end -}}

{{/*
Bytes of TLS for each session, which the gateway holds: towards browsers; and towards upstreams, where one is
https, or certificates for them are configured, as they are for JupyterHub's with internal_ssl.
*/}}
{{- define "bascule.tlsBytes" -}}
{{- $upstreams := list (dict "upstream" (ternary .Values.hub.defaultTarget "" .Values.hub.enabled)) -}}
{{- $secure := or .Values.upstreamTls.ca .Values.upstreamTls.certificate -}}
{{- range concat $upstreams (default list .Values.routes) -}}
{{- $secure = or $secure (hasPrefix "https://" (toString (get . "upstream"))) -}}
{{- end -}}
{{- $browsers := empty .Values.tls.secretName | ternary 0 .Values.sizing.tlsBytesPerSession | int64 -}}
{{- add $browsers (empty $secure | ternary 0 .Values.sizing.upstreamTlsBytesPerSession | int64) -}}
{{- end -}}

{{/* Memory request in MiB: what the processes need, and the cap times the bytes of a session. */}}
{{- define "bascule.memoryMi" -}}
{{- $sizing := .Values.sizing -}}
{{- $forwarders := mul (include "bascule.forwarders" .) ($sizing.forwarderBytes | int64) -}}
{{- $each := add ($sizing.bytesPerSession | int64) (include "bascule.tlsBytes" . | int64) -}}
{{- $sessions := mul (include "bascule.cap" .) $each -}}
{{- divf (addf ($sizing.baseBytes | int64) $forwarders $sessions) 1048576 | ceil | int64 -}}
{{- end -}}

{{/* The number that a quantity such as "500m", "1Gi" or 1e9 stands for; an "E" at the end is exa. */}}
{{- define "bascule.quantity" -}}
{{- $text := toString . -}}
{{- $suffix := regexFind "[A-Za-z]*$" $text -}}
{{- $factors := dict "n" 1e-9 "u" 1e-6 "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "E" 1e18 -}}
{{- $factors = merge $factors (dict "Ki" 0x1p10 "Mi" 0x1p20 "Gi" 0x1p30 "Ti" 0x1p40 "Pi" 0x1p50 "Ei" 0x1p60) -}}
{{- mulf (trimSuffix $suffix $text | float64) (default 1 (get $factors $suffix)) -}}
{{- end -}}

{{/*
Resources of the container: what the values say, and computed memory where they say nothing. An API server
refuses a request above its limit, so a limit of the values bounds the request, and a request of the values
lifts the computed limit.
*/}}
{{- define "bascule.resources" -}}
{{- $resources := deepCopy (default dict .Values.resources) -}}
{{- $requests := default dict $resources.requests -}}
{{- $limits := default dict $resources.limits -}}
{{- $memory := default (printf "%sMi" (include "bascule.memoryMi" .)) $requests.memory -}}
{{- $least := divf (include "bascule.quantity" $memory | float64) 1048576 -}}
{{- $_ := set $requests "memory" $memory -}}
{{- if not $limits.memory -}}
{{- $_ := set $limits "memory" (printf "%dMi" (mulf $least (.Values.sizing.limitFactor | float64) | ceil | int64)) -}}
{{- end -}}
{{- range $name, $limit := $limits -}}
{{- $request := get $requests $name -}}
{{- if and $request (gt (include "bascule.quantity" $request | float64) (include "bascule.quantity" $limit | float64)) -}}
{{- $_ := set $requests $name $limit -}}
{{- end -}}
{{- end -}}
{{- toYaml (mergeOverwrite $resources (dict "requests" $requests "limits" $limits)) -}}
{{- end -}}

{{/*
Pods of the Deployment; empty where an autoscaler has always had the say. Once Helm has given a number it
must go on: a number that is left out of the next manifest is one pod for the API server, until the autoscaler
looks again, and all other pods' sessions are moved. So from the moment autoscaling is switched on, the
number is what the cluster has, and an annotation remembers. Where Helm applies on the server that ends as
soon as an autoscaler has scaled: see `bascule.isApplied`.
*/}}
{{- define "bascule.replicas" -}}
{{- if not .Values.autoscaling.enabled -}}
{{- .Values.replicaCount -}}
{{- else -}}
{{- $live := lookup "apps/v1" "Deployment" .Release.Namespace (include "bascule.fullname" .) -}}
{{- $scaled := false -}}
{{- range dig "metadata" "managedFields" list $live -}}
{{- if hasKey (dig "fieldsV1" "f:spec" dict .) "f:replicas" -}}
{{- $scaled = or $scaled (eq (get . "subresource") "scale") -}}
{{- end -}}
{{- end -}}
{{- if and (dig "metadata" "annotations" "bascule/replicas" "" $live) (not (and $scaled (include "bascule.isApplied" (list . $live)))) -}}
{{- $live.spec.replicas | int64 -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
Whether Helm applies this release on the server, `(list . live)`; empty means it merges by itself. The server
leaves a field alone that is an autoscaler's by now, and one in the manifest would only conflict with the
autoscaler's next number. Who merges removes what the last manifest had: Helm 3 always, and Helm 4 when the
last revision is Helm 3's. The server's notes tell: who applied the name of the release is Helm, and under the
same name it has updated nothing since. For that Helm 3 must have changed something, if only the annotation.
*/}}
{{- define "bascule.isApplied" -}}
{{- $entries := dig "metadata" "managedFields" list (last .) -}}
{{- $helm := "" -}}
{{- range $entries -}}
{{- if and (eq .operation "Apply") (hasKey (dig "fieldsV1" "f:metadata" "f:annotations" dict .) "f:meta.helm.sh/release-name") -}}
{{- $helm = .manager -}}
{{- end -}}
{{- end -}}
{{- range $entries -}}
{{- if and (eq .manager $helm) (eq .operation "Update") (not (get . "subresource")) -}}
{{- $helm = "" -}}
{{- end -}}
{{- end -}}
{{- if and $helm (ne "v3" (include "bascule.helm" (first .))) -}}
true
{{- end -}}
{{- end -}}

{{/* The Helm that renders: v3 or v4. */}}
{{- define "bascule.helm" -}}
{{- regexFind "^v[0-9]+" .Capabilities.HelmVersion.Version -}}
{{- end -}}

{{/* Sessions in flight that the average pod should carry: what autoscaling aims at. */}}
{{- define "bascule.targetSessions" -}}
{{- max 1 (mulf (include "bascule.cap" . | float64) (.Values.autoscaling.targetShare | float64) | floor | int64) -}}
{{- end -}}
