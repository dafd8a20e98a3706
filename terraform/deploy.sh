#!/bin/sh
# Deploy to a cloud, or take away what was deployed: the package, then Terraform, all by one file of variables.
#   Usage: PYTHON=... deploy.sh apply|destroy CLOUD VARIABLES_FILE [-var OPTIONS OF TERRAFORM...]
# Terraform asks before it changes anything, unless TF_CLI_ARGS_apply or TF_CLI_ARGS_destroy is -auto-approve.
set -eu
verb=$1 cloud=$2 file=$3
shift 3

fail() {
    echo "deploy: $1" >&2
    exit 1
}

cd "$(dirname "$0")/.."
root=terraform/$cloud
[ -f "$root/versions.tf" ] || fail "there is no cloud '$cloud': write CLOUD=aws, CLOUD=azure or CLOUD=gcp"
[ -f "$file" ] || fail "there is no file '$file': write VARS=FILE, the file with the deployment's variables"
case $file in /*) ;; *) file=$PWD/$file ;; esac
command -v terraform >/dev/null ||
    fail "Terraform is not installed: https://developer.hashicorp.com/terraform/install"

terraform -chdir="$root" init -input=false
if [ "$verb" = destroy ]; then
    exec terraform -chdir="$root" destroy -var-file="$file" "$@"
fi

# What the package depends on stands in that file too, and Terraform reads it best.
said=$(echo 'join(":", [var.architecture, coalesce(var.config_file, "trefoil.toml")])' |
    terraform -chdir="$root" console -var-file="$file" "$@")
said=${said#\"} said=${said%\"}
case $said in arm64:* | x86_64:*) ;; *) fail "$file: $said" ;; esac
"${PYTHON:-python3}" terraform/package.py "$cloud" --architecture "${said%%:*}" --config "${said#*:}"
terraform -chdir="$root" apply -input=false -var-file="$file" "$@"
if [ -f "$root/push.py" ]; then # where Terraform cannot hand over the package itself
    "${PYTHON:-python3}" "$root/push.py" "build/$cloud.zip"
    # What one can go back to: such a cloud keeps no versions.
    if ! cmp -s "build/$cloud.zip" "build/$cloud.deployed.zip"; then
        [ ! -f "build/$cloud.deployed.zip" ] || mv "build/$cloud.deployed.zip" "build/$cloud.before.zip"
        cp "build/$cloud.zip" "build/$cloud.deployed.zip"
    fi
fi
