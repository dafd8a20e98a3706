# What every deployment to AWS promises, checked without AWS: `terraform test`.

mock_provider "aws" {
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/trefoil-function" }
  }
  mock_resource "aws_dynamodb_table" {
    defaults = { arn = "arn:aws:dynamodb:eu-central-1:123456789012:table/trefoil" }
  }
  mock_resource "aws_secretsmanager_secret" {
    defaults = { arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:trefoil/environment-AbCdEf" }
  }
  mock_resource "aws_cloudwatch_log_group" {
    defaults = { arn = "arn:aws:logs:eu-central-1:123456789012:log-group:/aws/lambda/trefoil" }
  }
  mock_resource "aws_lambda_function" {
    defaults = { version = "7" }
  }
  mock_resource "aws_lambda_alias" {
    defaults = { arn = "arn:aws:lambda:eu-central-1:123456789012:function:trefoil:live" }
  }
  mock_resource "aws_lambda_function_url" {
    defaults = { function_url = "https://abcdefghij.lambda-url.eu-central-1.on.aws/" }
  }
  mock_resource "aws_api_gateway_rest_api" {
    defaults = { execution_arn = "arn:aws:execute-api:eu-central-1:123456789012:abc123" }
  }
  mock_resource "aws_api_gateway_stage" {
    defaults = {
      arn        = "arn:aws:apigateway:eu-central-1::/restapis/abc123/stages/live"
      invoke_url = "https://abc123.execute-api.eu-central-1.amazonaws.com/live"
    }
  }
  mock_resource "aws_api_gateway_domain_name" {
    defaults = { regional_domain_name = "d-abc.execute-api.eu-central-1.amazonaws.com", regional_zone_id = "Z1U9ULNL0V5AJ3" }
  }
  mock_resource "aws_sns_topic" {
    defaults = { arn = "arn:aws:sns:eu-central-1:123456789012:trefoil-alarms" }
  }
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{\"Version\": \"2012-10-17\", \"Statement\": []}" }
  }
}

variables {
  region         = "eu-central-1"
  account        = "123456789012"
  package_path   = "tests/stand-in.zip"
  openai_api_key = "sk-no-real-key"
  admin_key      = "0123456789abcdef0123456789abcdef"
  extra_secrets  = {} # `terraform test` does not know the defaults of ephemeral variables
}

run "outputs" {
  assert {
    condition     = output.url == "https://abcdefghij.lambda-url.eu-central-1.on.aws"
    error_message = "url must be https without a slash at its end: ${output.url}"
  }
  assert {
    condition     = output.openai_base_url == "${output.url}/v1"
    error_message = "A client's base URL ends in /v1: ${output.openai_base_url}"
  }
  assert {
    condition     = strcontains(output.create_first_key_command, "$TF_VAR_admin_key") && strcontains(output.create_first_key_command, "${output.url}/manage/apps/first/keys")
    error_message = "The command must read the admin key from the environment: ${output.create_first_key_command}"
  }
  assert {
    condition     = alltrue([for url in [output.logs_url, output.dashboard_url] : startswith(url, "https://eu-central-1.console.aws.amazon.com/")])
    error_message = "The links must lead to the region's console."
  }
}

run "function" {
  assert {
    condition     = aws_lambda_function.gateway.runtime == "python3.13" && aws_lambda_function.gateway.architectures == tolist(["arm64"])
    error_message = "The function must run on what the package is built for."
  }
  assert {
    condition     = aws_lambda_function.gateway.publish && aws_lambda_function_url.live[0].qualifier == "live" && aws_lambda_alias.live.function_version == "7"
    error_message = "Clients must call a published version by the alias, so that one can go back."
  }
  assert {
    condition     = aws_lambda_function_url.live[0].invoke_mode == "RESPONSE_STREAM" && aws_lambda_function.gateway.environment[0].variables["AWS_LAMBDA_EXEC_WRAPPER"] == "/var/task/run"
    error_message = "Answers must be streamed: the URL's mode and the wrapper belong together."
  }
  assert {
    condition     = aws_lambda_function.gateway.reserved_concurrent_executions == 100
    error_message = "The flood cap is max_instances times concurrency."
  }
  assert {
    condition     = length(aws_lambda_provisioned_concurrency_config.live) == 0
    error_message = "What is idle must cost nothing unless min_instances says so."
  }
}

run "both_statements_of_a_public_url" {
  assert {
    condition     = aws_lambda_function_url.live[0].authorization_type == "NONE"
    error_message = "The provider makes the first statement, lambda:InvokeFunctionUrl, for this type only."
  }
  assert {
    condition     = jsondecode(aws_cloudformation_stack.public_url[0].template_body).Resources.Invoke.Properties == { Action = "lambda:InvokeFunction", FunctionName = aws_lambda_alias.live.arn, InvokedViaFunctionUrl = true, Principal = "*" }
    error_message = "The second statement must allow the call of the alias, by its URL only."
  }
}

run "least_privilege" {
  assert {
    condition = { for statement in data.aws_iam_policy_document.function.statement : statement.sid => statement.resources } == {
      Store  = toset([aws_dynamodb_table.store.arn])
      Secret = toset([aws_secretsmanager_secret.environment.arn])
      Logs   = toset(["${aws_cloudwatch_log_group.function.arn}:*"])
    }
    error_message = "The function may use its own table, its own secret and its own logs, and nothing else."
  }
  assert {
    condition     = !anytrue(flatten([for statement in data.aws_iam_policy_document.function.statement : [for action in statement.actions : strcontains(action, "*")]]))
    error_message = "Each action must be named."
  }
}

run "secrets_are_in_no_plain_setting" {
  variables {
    secret_names  = ["OPENAI_API_KEY", "TREFOIL_ADMIN_KEY", "AZURE_OPENAI_API_KEY"]
    extra_secrets = { AZURE_OPENAI_API_KEY = "another" }
    environment   = { OPENAI_ORG_ID = "org-1" }
  }
  assert {
    condition     = keys(aws_lambda_function.gateway.environment[0].variables) == tolist(["AWS_LAMBDA_EXEC_WRAPPER", "OPENAI_ORG_ID", "TREFOIL_SECRET", "TREFOIL_STORE"])
    error_message = "Only the secret's ARN may stand in the function's settings."
  }
  assert {
    condition     = aws_secretsmanager_secret_version.environment.secret_string == null && aws_secretsmanager_secret_version.environment.secret_string_wo == null
    error_message = "The secrets must be in no state."
  }
}

run "store" {
  assert {
    condition     = aws_dynamodb_table.store.billing_mode == "PAY_PER_REQUEST" && aws_dynamodb_table.store.point_in_time_recovery[0].enabled
    error_message = "The table must cost nothing when idle, and be restorable."
  }
  assert {
    condition     = aws_dynamodb_table.store.hash_key == "pk" && aws_dynamodb_table.store.range_key == "sk" && one(aws_dynamodb_table.store.ttl).attribute_name == "expires_at"
    error_message = "These are the names that aws/dynamodb_item.py uses."
  }
}

run "alarms_reach_nobody_by_default" {
  assert {
    condition     = length(aws_sns_topic.alarms) == 0 && alltrue([for alarm in aws_cloudwatch_metric_alarm.function : length(alarm.alarm_actions) == 0])
    error_message = "Without an address there is nobody to tell."
  }
}

run "alarms_reach_the_address" {
  variables {
    alarm_email = "ops@example.com"
  }
  assert {
    condition     = alltrue([for alarm in aws_cloudwatch_metric_alarm.function : alarm.alarm_actions == toset([aws_sns_topic.alarms[0].arn])])
    error_message = "Every alarm must reach the topic."
  }
}

run "instances_kept_ready" {
  variables {
    min_instances = 2
    max_instances = null
  }
  assert {
    condition     = aws_lambda_provisioned_concurrency_config.live[0].provisioned_concurrent_executions == 2 && aws_lambda_provisioned_concurrency_config.live[0].qualifier == "live"
    error_message = "The alias must have as many instances ready."
  }
  assert {
    condition     = aws_lambda_function.gateway.reserved_concurrent_executions == -1
    error_message = "Without max_instances the account's own limit counts."
  }
}

run "no_rest_api_by_default" {
  assert {
    condition     = length(aws_api_gateway_rest_api.rest) + length(aws_api_gateway_stage.live) + length(aws_lambda_permission.rest) + length(aws_cloudwatch_log_group.rest) == 0 && output.rest_url == null && output.rest_domain_target == null
    error_message = "What costs by the request must be asked for."
  }
}

run "a_rest_api" {
  variables {
    rest_api        = {}
    timeout_seconds = 900
  }
  assert {
    condition = alltrue([for path in ["/", "/{proxy+}"] :
      jsondecode(aws_api_gateway_rest_api.rest[0].body).paths[path].x-amazon-apigateway-any-method.x-amazon-apigateway-integration == {
        type                 = "aws_proxy"
        httpMethod           = "POST"
        uri                  = "arn:aws:apigateway:eu-central-1:lambda:path/2021-11-15/functions/${aws_lambda_alias.live.arn}/response-streaming-invocations"
        responseTransferMode = "STREAM"
        timeoutInMillis      = 900000
      }
    ]) && length(jsondecode(aws_api_gateway_rest_api.rest[0].body).paths) == 2
    error_message = "Each path must lead to the alias, stream, and have the function's time."
  }
  assert {
    condition     = aws_api_gateway_rest_api.rest[0].endpoint_configuration[0].types == tolist(["REGIONAL"]) && jsondecode(aws_api_gateway_rest_api.rest[0].body).x-amazon-apigateway-binary-media-types == ["*/*"]
    error_message = "Streams of other endpoints may be idle for 30 seconds only; other bodies are taken for text."
  }
  assert {
    condition = alltrue([for name, said in jsondecode(aws_api_gateway_rest_api.rest[0].body).x-amazon-apigateway-gateway-responses :
      sort(keys(jsondecode(replace(said.responseTemplates["application/json"], "$context.error.messageString", "\"\"")).error)) == tolist(["code", "message", "param", "type"])
    ])
    error_message = "What API Gateway says must be an error as OpenAI writes it."
  }
  assert {
    condition     = one(aws_api_gateway_method_settings.all[0].settings).throttling_rate_limit == 100 && one(aws_api_gateway_method_settings.all[0].settings).throttling_burst_limit == 100 && aws_api_gateway_method_settings.all[0].method_path == "*/*"
    error_message = "The flood cap must be there, for all methods."
  }
  assert {
    condition     = one(aws_api_gateway_method_settings.all[0].settings).logging_level == "OFF" && !one(aws_api_gateway_method_settings.all[0].settings).data_trace_enabled
    error_message = "Logs of the execution hold the callers' keys."
  }
  assert {
    condition     = aws_lambda_permission.rest[0].principal == "apigateway.amazonaws.com" && aws_lambda_permission.rest[0].qualifier == "live" && aws_lambda_permission.rest[0].source_arn == "arn:aws:execute-api:eu-central-1:123456789012:abc123/live/*"
    error_message = "Only this API's stage may call the function, and only the alias."
  }
  assert {
    condition     = length(regexall("header|path|query|authorizer|identity[.][^s]", one(aws_api_gateway_stage.live[0].access_log_settings).format)) == 0
    error_message = "A line of the log may hold nothing in which a caller's key can stand."
  }
  assert {
    condition     = output.rest_url == "https://abc123.execute-api.eu-central-1.amazonaws.com/live" && output.url == "https://abcdefghij.lambda-url.eu-central-1.on.aws"
    error_message = "Both must answer: ${output.url}, ${output.rest_url}"
  }
  assert {
    condition     = length(aws_wafv2_web_acl_association.rest) + length(aws_api_gateway_domain_name.rest) + length(aws_api_gateway_account.region) == 0
    error_message = "A firewall, a domain and the account's setting must be asked for."
  }
}

run "a_rest_api_alone" {
  variables {
    function_url = false
    rest_api = {
      requests_per_second = 7
      web_acl_arn         = "arn:aws:wafv2:eu-central-1:123456789012:regional/webacl/filter/a1b2"
      domain_name         = "llm.example.com"
      certificate_arn     = "arn:aws:acm:eu-central-1:123456789012:certificate/a1b2"
      account_log_role    = true
    }
  }
  assert {
    condition     = length(aws_lambda_function_url.live) + length(aws_cloudformation_stack.public_url) == 0
    error_message = "Nobody may pass by the firewall."
  }
  assert {
    condition     = output.url == "https://llm.example.com" && output.rest_url == output.url && output.rest_domain_target == { name = "d-abc.execute-api.eu-central-1.amazonaws.com", zone_id = "Z1U9ULNL0V5AJ3" }
    error_message = "The domain must be what clients call: ${output.url}"
  }
  assert {
    condition     = aws_wafv2_web_acl_association.rest[0].resource_arn == aws_api_gateway_stage.live[0].arn
    error_message = "The firewall must stand before the stage."
  }
  assert {
    condition     = aws_api_gateway_base_path_mapping.rest[0].base_path == null && aws_api_gateway_base_path_mapping.rest[0].stage_name == "live"
    error_message = "Below the domain's root, the function would not know its own paths."
  }
  assert {
    condition     = one(aws_api_gateway_method_settings.all[0].settings).throttling_rate_limit == 7
    error_message = "The flood cap is what was asked for."
  }
  assert {
    condition     = one(one(data.aws_iam_policy_document.assume_rest_logs.statement).principals).identifiers == toset(["apigateway.amazonaws.com"]) && aws_api_gateway_account.region[0].cloudwatch_role_arn == aws_iam_role.rest_logs[0].arn
    error_message = "Only API Gateway may be that role."
  }
}

run "a_rest_api_without_logs" {
  variables {
    rest_api = { access_logs = false }
  }
  assert {
    condition     = length(aws_api_gateway_stage.live[0].access_log_settings) == 0 && length(aws_cloudwatch_log_group.rest) == 0
    error_message = "In an account that has no role for them, there can be no logs."
  }
}

run "refuses_a_rest_api_that_cannot_be" {
  command = plan
  variables {
    rest_api = {
      requests_per_second = 0
      web_acl_arn         = "arn:aws:wafv2:us-east-1:123456789012:regional/webacl/filter/a1b2"
      domain_name         = "https://llm.example.com"
    }
  }
  expect_failures = [var.rest_api]
}

run "refuses_a_function_that_nobody_reaches" {
  command = plan
  variables {
    function_url = false
  }
  expect_failures = [var.function_url]
}

run "refuses_a_missing_secret" {
  command = plan
  variables {
    admin_key = null
  }
  expect_failures = [aws_secretsmanager_secret_version.environment]
}

run "refuses_a_missing_package" {
  command = plan
  variables {
    package_path = "tests/nowhere.zip"
  }
  expect_failures = [aws_lambda_function.gateway]
}

run "refuses_bad_values" {
  command = plan
  variables {
    name               = "No"
    region             = "Frankfurt"
    account            = "x"
    package_path       = "build/aws.tar"
    config_file        = "trefoil.json"
    architecture       = "riscv"
    memory_mb          = 300
    timeout_seconds    = 901
    concurrency        = 0
    min_instances      = -1
    alarm_email        = "nobody"
    log_retention_days = 31
    tags               = { Team = "a" }
    secret_names       = ["lower"]
    secrets_version    = 0
    admin_key          = "short"
    endpoint           = "https://elsewhere.example"
  }
  expect_failures = [
    var.name, var.region, var.account, var.package_path, var.config_file, var.architecture, var.memory_mb, var.timeout_seconds,
    var.concurrency, var.min_instances, var.alarm_email, var.log_retention_days, var.tags,
    var.secret_names, var.secrets_version, var.admin_key, var.endpoint,
  ]
}

run "refuses_values_that_do_not_fit_together" {
  command = plan
  variables {
    min_instances = 3
    max_instances = 2
    environment   = { MY_API_KEY = "x" }
  }
  expect_failures = [var.max_instances, var.environment]
}
