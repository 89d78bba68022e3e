{{/*
Put the default of everything in that is null in a values file. Helm takes such a key out, the default with it,
and a template that reads below it ends in a nil pointer. Every template of an object says this first, for
their order is Helm's; the values are one map for all of them.
*/}}
{{- define "bascule.whole" -}}
{{- $leave := include "bascule.mayBeNull" . | fromJsonArray -}}
{{- include "bascule.fill" (list .Values (include "bascule.defaults" . | fromJson) $leave "") -}}
{{- end -}}

{{/* `(list values defaults leave prefix)`: what `leave` names is put in with its whole block only. */}}
{{- define "bascule.fill" -}}
{{- $values := index . 0 -}}
{{- $leave := index . 2 -}}
{{- $prefix := index . 3 -}}
{{- range $key, $default := index . 1 -}}
{{- $path := print $prefix $key -}}
{{- if has $path $leave -}}
{{- else if or (not (hasKey $values $key)) (kindIs "invalid" (get $values $key)) -}}
{{- $_ := set $values $key $default -}}
{{- else if kindIs "map" $default -}}
{{- include "bascule.fill" (list (get $values $key) $default $leave (print $path ".")) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
The configuration file. Blocks that the proxy knows are passed on as they are; `bascule check --config`
accepts the result, and a test says so for every case of the matrix.
*/}}
{{- define "bascule.config" -}}
{{- if eq (.Values.ports.http | int64) (.Values.ports.admin | int64) -}}
{{- fail (printf "ports.http and ports.admin are both %d: each needs a port of its own" (.Values.ports.http | int64)) -}}
{{- end -}}
{{- with .Values.service.redirectPort -}}
{{- if not $.Values.tls.secretName -}}
{{- fail "service.redirectPort needs tls.secretName: nothing speaks https here" -}}
{{- end -}}
{{- if eq (. | int64) ($.Values.service.port | int64) -}}
{{- fail (printf "service.port and service.redirectPort are both %d" (. | int64)) -}}
{{- end -}}
{{- if has ($.Values.ports.redirect | int64) (list ($.Values.ports.http | int64) ($.Values.ports.admin | int64)) -}}
{{- fail (printf "ports.redirect is %d, which has another use: each needs a port of its own" ($.Values.ports.redirect | int64)) -}}
{{- end -}}
{{- end -}}
{{- $extra := default dict .Values.extraConfig -}}
{{- $computed := pick $extra "listen" "admin" "websocketProxy" "forwarders" "drain" | keys | sortAlpha -}}
{{- if hasKey (default dict $extra.limits) "closingHandshakeTimeout" -}}
{{- $computed = append $computed "limits.closingHandshakeTimeout" -}}
{{- end -}}
{{- range $variable := default list .Values.extraEnv -}}
{{- if hasPrefix "BASCULE_ADMINTLS__" (upper (toString $variable.name)) -}}
{{- $_ := set $extra "adminTls" $variable.name -}}
{{- end -}}
{{- end -}}
{{- if $extra.adminTls -}}
{{- fail "adminTls: not in this chart, whose probes, monitors and other pods ask the admin port over http; networkPolicy.enabled says who reaches it" -}}
{{- end -}}
{{- range $key := $computed -}}
{{- fail (printf "extraConfig.%s: use the chart's own values for it, which ports, memory and the grace period follow" $key) -}}
{{- end -}}
{{- $config := dict -}}
{{- $_ := set $config "listen" (printf "%s:%d" .Values.bindAddress (.Values.ports.http | int64)) -}}
{{- $_ := set $config "admin" (printf "%s:%d" .Values.bindAddress (.Values.ports.admin | int64)) -}}
{{- $_ := set $config "websocketProxy" (include "bascule.pool" . | fromYaml) -}}
{{- $_ := set $config "routes" (default list .Values.routes) -}}
{{- range $networks := list "trustedProxies" "proxyProtocolFrom" -}}
{{- $_ := set $config $networks (default list (get $.Values $networks)) -}}
{{- end -}}
{{- range $block := list "limits" "sockets" "watchdog" "reloadOnChange" "formerGatewayTimeout" "readiness" "metrics" "log" "upstreamTls" -}}
{{- $_ := set $config $block (get $.Values $block) -}}
{{- end -}}
{{- $_ := set $config "forwarders" (merge (dict "count" (include "bascule.forwarders" . | int64)) (omit .Values.forwarders "count")) -}}
{{- $times := dict "timeout" (printf "%ss" (include "bascule.drainSeconds" .)) "lastScrape" (printf "%ss" (include "bascule.lastScrapeSeconds" .)) -}}
{{- $_ := set $config "drain" (merge $times .Values.drain) -}}
{{- $capacity := deepCopy .Values.capacity -}}
{{- if and (kindIs "invalid" $capacity.headlessService) (empty $capacity.peers) -}}
{{- $_ := set $capacity "headlessService" (printf "%s.%s.svc" (include "bascule.peers" .) .Release.Namespace) -}}
{{- end -}}
{{- $_ := set $config "capacity" $capacity -}}
{{- $session := omit .Values.auth.session "keySecret" -}}
{{- if .Values.auth.session.keySecret.name -}}
{{- $_ := set $session "keyFile" "/etc/bascule/auth/key" -}}
{{- end -}}
{{- $_ := set $config "auth" (dict "session" $session) -}}
{{- if .Values.adminToken.name -}}
{{- $_ := set $config "adminTokenFile" "/etc/bascule/admin/token" -}}
{{- end -}}
{{- if .Values.hub.enabled -}}
{{- if not (or .Values.adminToken.name $extra.adminToken $extra.adminTokenFile) -}}
{{- fail "hub.enabled needs adminToken.name: whoever may add a route decides where requests go" -}}
{{- end -}}
{{- $_ := set $config "hub" .Values.hub -}}
{{- end -}}
{{- if .Values.tls.secretName -}}
{{- $_ := set $config "tls" (dict "certificate" "/etc/bascule/tls/tls.crt" "key" "/etc/bascule/tls/tls.key") -}}
{{- with .Values.service.redirectPort -}}
{{- $_ := set $config.tls "redirectFrom" (printf "%s:%d" $.Values.bindAddress ($.Values.ports.redirect | int64)) -}}
{{- $_ := set $config.tls "redirectPort" ($.Values.service.port | int64) -}}
{{- end -}}
{{- end -}}
{{- $given := dig "auth" "session" "keyFile" "" $extra -}}
{{- range .Values.routes -}}
{{- if and (eq (get . "auth") "session") (not (or $session.keyFile $given)) -}}
{{- fail (printf "route %q has auth: session, which needs auth.session.keySecret.name" .name) -}}
{{- end -}}
{{- end -}}
{{- $config = mergeOverwrite $config (deepCopy $extra) -}}
{{- include "bascule.consistency" $config -}}
{{- toYaml $config -}}
{{- end -}}

{{/*
What of the configuration replaces the pods when it changes: all of it, or what only a start can change
(docs/howto/reload.md), and a test holds the two together.
*/}}
{{- define "bascule.atAStart" -}}
{{- $config := include "bascule.config" . | fromYaml -}}
{{- if $config.reloadOnChange -}}
{{- $keys := pick $config "listen" "listenMode" "admin" "adminMode" "forwarders" -}}
{{- $_ := set $keys "websocketProxy" (pick $config.websocketProxy "grizzlyWorkerPoolMaxSize") -}}
{{- $_ := set $keys "tls" (pick (default dict $config.tls) "redirectFrom") -}}
{{- $keys | toYaml -}}
{{- else -}}
{{- $config | toYaml -}}
{{- end -}}
{{- end -}}
