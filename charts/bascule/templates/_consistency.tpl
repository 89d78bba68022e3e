{{/*
What `bascule check` refuses, and a schema cannot say: keys that must fit each other. Each rule is one of
configuration/consistency.py or of a route (configuration/route.py, configuration/templates.py), in the same words; a test holds
the two together. What Go cannot tell, such as whether a pattern with a look-ahead is a regular expression, is
left to the proxy: a pod with such a configuration says so in its log, and the pods of the last one stay.
*/}}

{{- define "bascule.consistency" -}}
{{- $config := . -}}
{{- $names := dict -}}
{{- $shapes := dict -}}
{{- range $index, $route := $config.routes -}}
{{- $here := printf "routes[%d]" $index -}}
{{- if hasKey $names $route.name -}}
{{- fail (printf "%s.name: found %q; allowed: a name of its own; routes[%d] has the same" $here $route.name (get $names $route.name)) -}}
{{- end -}}
{{- $_ := set $names $route.name $index -}}
{{- if hasPrefix "/.bascule/" (print $route.path "/") -}}
{{- fail (printf "%s.path: found %q; allowed: a path outside \"/.bascule/\", which bascule itself answers" $here $route.path) -}}
{{- end -}}
{{- range $number, $origin := default list $route.allowedOrigins -}}
{{- if regexMatch "^(https://.*[^:]:443|http://.*[^:]:80)$" $origin -}}
{{- fail (printf "%s.allowedOrigins[%d]: found %q; allowed: an origin as browsers send it, \"https://host\" or \"https://host:port\", in lower case and without the default port and a path; or \"*\"" $here $number $origin) -}}
{{- end -}}
{{- end -}}
{{- include "bascule.route" (list $here $route) -}}
{{- $shape := regexReplaceAll "\\{[^}]*\\}" (trimSuffix "/" $route.path) "{}" -}}
{{- if hasKey $shapes $shape -}}
{{- fail (printf "%s.path: found %q; allowed: a path of its own; that of routes[%d] matches the same requests" $here $route.path (get $shapes $shape)) -}}
{{- end -}}
{{- $_ := set $shapes $shape $index -}}
{{- include "bascule.ownListeners" (list $config (print $here ".upstream") $route.upstream (default dict $route.where)) -}}
{{- end -}}
{{- range $key := list "defaultTarget" "errorTarget" -}}
{{- with get (default dict $config.hub) $key -}}
{{- include "bascule.ownListeners" (list $config (print "hub." $key) . dict) -}}
{{- end -}}
{{- end -}}
{{- range $key := list "trustedProxies" "proxyProtocolFrom" -}}
{{- range $index, $network := default list (get $config $key) -}}
{{- if regexMatch "^[0-9.]+/[0-9]+$" $network -}}
{{- $length := regexFind "[0-9]+$" $network | int -}}
{{- $number := 0 -}}
{{- range regexFindAll "[0-9]+" (regexFind "^[0-9.]+" $network) -1 -}}
{{- $number = add (mul $number 256) (. | int64) -}}
{{- end -}}
{{- $step := 1 -}}
{{- range until (sub 32 $length | int) -}}
{{- $step = mul $step 2 -}}
{{- end -}}
{{- if mod $number $step -}}
{{- fail (printf "%s[%d]: found %q; allowed: a network such as \"10.0.0.0/8\" (no bits set behind the mask) or an address%s" $key $index $network (eq $key "trustedProxies" | ternary "; or \"unix:\"" "")) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $tls := default dict $config.tls -}}
{{- range $block := list "tls" "upstreamTls" -}}
{{- $files := default dict (get $config $block) -}}
{{- if and $files.certificate (not $files.key) -}}
{{- fail (printf "%s.key: missing; needed: the path of a file, since certificate is set" $block) -}}
{{- else if and $files.key (not $files.certificate) -}}
{{- fail (printf "%s.certificate: missing; needed: the path of a file, since key is set" $block) -}}
{{- end -}}
{{- end -}}
{{- if not $tls.certificate -}}
{{- if $tls.clientCa -}}
{{- fail (printf "tls.clientCa: found %q; allowed: null, since there is no tls.certificate: nobody speaks TLS there" $tls.clientCa) -}}
{{- else if $tls.redirectFrom -}}
{{- fail (printf "tls.redirectFrom: found %q; allowed: null, since there is no tls.certificate: https would not work" $tls.redirectFrom) -}}
{{- end -}}
{{- end -}}
{{- if and $tls.redirectPort (not $tls.redirectFrom) -}}
{{- fail (printf "tls.redirectPort: found %d; allowed: null, since there is no tls.redirectFrom" ($tls.redirectPort | int64)) -}}
{{- end -}}
{{- if and $config.adminToken $config.adminTokenFile -}}
{{- fail (printf "adminTokenFile: found %q; allowed: null, since adminToken is set; use one of the two" $config.adminTokenFile) -}}
{{- end -}}
{{- if and $config.hub (not $config.hub.enabled) -}}
{{- fail "extraConfig.hub: use the chart's own hub for it; allowed: nothing, for hub.enabled is false" -}}
{{- end -}}
{{- end -}}

{{/* One route, `(list "routes[0]" route)`: its path, patterns and upstream must speak of the same names. */}}
{{- define "bascule.route" -}}
{{- $here := index . 0 -}}
{{- $route := index . 1 -}}
{{- $where := default dict $route.where -}}
{{- $names := list -}}
{{- range regexFindAll "\\{[a-z][a-z0-9_]*\\}" $route.path -1 -}}
{{- if has . $names -}}
{{- fail (printf "%s.path: found %q; allowed: a path in which %s occurs only once" $here $route.path .) -}}
{{- end -}}
{{- $names = append $names . -}}
{{- end -}}
{{- range $name, $pattern := $where -}}
{{- /* Sprig takes what Go cannot read for no match, so this is false for it; what only Python can read passes. */ -}}
{{- $isRead := or (regexMatch (printf "(?:%s)|" $pattern) "") (regexMatch "\\(\\?[^:]|\\\\[A-Za-z0-9]|[*+?}]\\+|\\{" $pattern) -}}
{{- if or (not $isRead) (regexMatch "\\[\\[|\\\\[pPzQEC]" $pattern) -}}
{{- fail (printf "%s.where.%s: found %q; allowed: a regular expression" $here $name $pattern) -}}
{{- end -}}
{{- range $probe := list "/" ".." "." "%" ";" "\\" "%2F" "%2f" "%2E" "%5C" "%00" "%25" "%3B" "a/b" "a;b" "a\\b" "a%2Fb" "a%25b" "../a" "..;" "" -}}
{{- if regexMatch (printf "^(?:%s)$" $pattern) $probe -}}
{{- $shown := empty $probe | ternary "an empty segment" (printf "\"%s\"" $probe) -}}
{{- fail (printf "%s.where.%s: found %q; allowed: a narrower pattern, such as \"[a-z0-9-]+\"; this one matches %s" $here $name $pattern $shown) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $names -}}
{{- $name := trimAll "{}" . -}}
{{- if not (hasKey $where $name) -}}
{{- fail (printf "%s.where.%s: missing; needed: a regular expression, since the path captures %q" $here $name $name) -}}
{{- end -}}
{{- end -}}
{{- range $name, $pattern := $where -}}
{{- if not (has (printf "{%s}" $name) $names) -}}
{{- fail (printf "%s.where.%s: found %q; allowed: patterns for names that the path captures" $here $name $pattern) -}}
{{- end -}}
{{- end -}}
{{- range $claim, $values := default dict $route.requiredClaims -}}
{{- range $value := kindIs "string" $values | ternary (list $values) $values -}}
{{- range regexFindAll "\\{[a-z][a-z0-9_]*\\}" $value -1 -}}
{{- if not (has . $names) -}}
{{- fail (printf "%s.requiredClaims.%s: found %q; allowed: names that the path captures; %s is none" $here $claim $value .) -}}
{{- end -}}
{{- end -}}
{{- if regexMatch "[{}]" (regexReplaceAll "\\{[a-z][a-z0-9_]*\\}" $value "") -}}
{{- fail (printf "%s.requiredClaims.%s: found %q; allowed: braces only as a \"{name}\" that the path captures" $here $claim $value) -}}
{{- end -}}
{{- if regexMatch "\\}[^/]*\\{" $value -}}
{{- fail (printf "%s.requiredClaims.%s: found %q; allowed: a \"/\" between two names, or the value could be read in two ways" $here $claim $value) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if ne (default "none" $route.auth) "session" -}}
{{- range $key, $found := dict "requiredClaims" "a block of keys" "audiences" "a list" -}}
{{- if get $route $key -}}
{{- fail (printf "%s.%s: found %s; allowed: nothing, unless the route has \"auth: session\": no token is looked at" $here $key $found) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range regexFindAll "\\{[a-z][a-z0-9_]*\\}" $route.upstream -1 -}}
{{- if not (has . $names) -}}
{{- fail (printf "%s.upstream: found %q; allowed: names that the path captures; %s is none" $here $route.upstream .) -}}
{{- end -}}
{{- end -}}
{{- $port := regexFind ":\\{[a-z][a-z0-9_]*\\}/?$" $route.upstream -}}
{{- range regexFindAll "\\{[a-z][a-z0-9_]*\\}" (trimSuffix $port $route.upstream) -1 -}}
{{- $pattern := get $where (trimAll "{}" .) -}}
{{- $name := . -}}
{{- range $probe := list "a.b" "127.0.0.1" "a:1" "a@b" -}}
{{- if regexMatch (printf "^(?:%s)$" $pattern) $probe -}}
{{- fail (printf "%s.upstream: found %q; allowed: one label for each name; the pattern of %s matches %q" $here $route.upstream $name $probe) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with $port -}}
{{- $name := . | trimSuffix "/" | trimPrefix ":" -}}
{{- if not (regexMatch "^(\\\\d|[0-9\\[\\]{}(),|?+*-]|\\?:)+$" (get $where (trimAll "{}" $name))) -}}
{{- fail (printf "%s.upstream: found %q; allowed: a port pinned by a pattern of digits, such as \"[0-9]{5}\"; that of %s is not" $here $route.upstream $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* `(list config key url where)`: a URL must not lead to a listener of the pod's own. */}}
{{- define "bascule.ownListeners" -}}
{{- $config := index . 0 -}}
{{- $url := index . 2 -}}
{{- $where := index . 3 -}}
{{- if regexMatch "^(?i:https?)://((?i:localhost)|127\\.[0-9.]+|0\\.0\\.0\\.0|\\[::1?\\])(:|/|$)" $url -}}
{{- $port := regexFind ":[^:/\\]]*/?$" (trimPrefix "http:" $url | trimPrefix "https:") | trimSuffix "/" | trimPrefix ":" -}}
{{- if hasPrefix "{" $port -}}
{{- $port = get $where (trimAll "{}" $port) -}}
{{- else if not $port -}}
{{- $port = hasPrefix "https" (lower $url) | ternary "443" "80" -}}
{{- end -}}
{{- $listeners := dict "listen" $config.listen "admin" $config.admin "tls.redirectFrom" (dig "tls" "redirectFrom" "" $config) -}}
{{- range $name := list "listen" "admin" "tls.redirectFrom" -}}
{{- $listener := get $listeners $name -}}
{{- if and $listener (regexMatch (printf "^(?:%s)$" $port) (regexFind "[0-9]+$" $listener)) -}}
{{- fail (printf "%s: found %q; allowed: any other server; this leads to our own %q (%s)" (index $ 1) $url $name $listener) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
