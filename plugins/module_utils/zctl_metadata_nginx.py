"""nginx's settings for the metadata service of an l3-network. Pure.

A VM sees the folder of its own address and nothing else, whatever it sends. `token` becomes part of a file name, so
only well-formed ones get there; `none` stands for a request without one.
"""

from __future__ import annotations

from typing import Any

try:
    from ansible_collections.zctl.cloud.plugins.module_utils import zctl_metadata_plan as plan
except ImportError:
    import zctl_metadata_plan as plan  # type: ignore[no-redef]

GUARD = """\
if (!-d @HOME@) { return 404; }
            if ($request_method !~ "^(GET|HEAD)$") { return 405; }
            if (!-f @HOME@/token/is/$token) { return 401; }"""
SETTINGS = """\
daemon off;
worker_processes 1;
pid nginx.pid;
error_log stderr crit;
events { worker_connections 1024; }
http {
    access_log off;
    server_tokens off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    client_max_body_size 1k;
    client_header_timeout 10s;
    client_body_timeout 10s;
    send_timeout 10s;
    keepalive_timeout 15s;
    reset_timedout_connection on;
    limit_conn_zone $binary_remote_addr zone=guests:1m;
    limit_conn guests 64;
    limit_conn_status 429;
    types { }
    default_type text/plain;
    map $http_x_aws_ec2_metadata_token $token {
        "" none;
        "~^[A-Za-z0-9_-]{43}$" $http_x_aws_ec2_metadata_token;
        default malformed;
    }
    map $http_x_aws_ec2_metadata_token_ttl_seconds $has_lifetime {
        default 0;
        "~^([1-9][0-9]{0,3}|1[0-9]{4}|20[0-9]{3}|21[0-5][0-9]{2}|21600)$" 1;
    }
    server {
        listen @ADDRESS@:80;
        server_name _;
        location = / {
            @GUARD@
            return 200 "@LISTING@";
        }
        location = /latest/api/token {
            if (!-d @HOME@) { return 404; }
            if ($request_method != PUT) { return 405; }
            if ($http_x_forwarded_for != "") { return 403; }
            if ($has_lifetime = 0) { return 400; }
            error_page 418 =200 /token;
            return 418;
        }
        location = /token {
            internal;
            add_header X-aws-ec2-metadata-token-ttl-seconds $http_x_aws_ec2_metadata_token_ttl_seconds;
            alias @HOME@/token/value;
        }
        location ~ /\\. { return 404; }
        location ~ "^/(?:@VERSIONS@)/user-data/?$" {
            @GUARD@
            default_type application/octet-stream;
            root @HOME@/data;
            try_files /user-data =404;
        }
        location ~ "^/(?:@VERSIONS@)(?<item>/.*?)?/?$" {
            @GUARD@
            root @HOME@/data;
            try_files $item $item/@LIST@ =404;
        }
        location / { return 404; }
    }
}
"""


def nginx_config(network: dict[str, Any]) -> str:
    """The file for one network."""
    values = {
        "GUARD": GUARD,
        "HOME": f"{plan.DATA}/{network['uuid']}/$remote_addr",
        "VERSIONS": "|".join(version.replace(".", r"\.") for version in plan.VERSIONS),
        "LISTING": r"\n".join(plan.VERSIONS),
        "ADDRESS": plan.ADDRESS,
        "LIST": plan.LIST,
    }
    text = SETTINGS
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    return plan.MADE + text
