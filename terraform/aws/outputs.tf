locals {
  url     = trimsuffix(aws_lambda_function_url.live.function_url, "/")
  console = "https://${var.region}.console.aws.amazon.com/cloudwatch/home?region=${var.region}#"
}

output "url" {
  description = "Where the function answers, without a slash at its end."
  value       = local.url
}

output "openai_base_url" {
  description = "What a client of OpenAI's API takes as its base URL."
  value       = "${local.url}/v1"
}

output "create_first_key_command" {
  description = "Makes an app named first, and a key of it, which is shown once. The admin key is read from TF_VAR_admin_key."
  value = join(" && ", [for path, body in { "/manage/apps" = { id = "first" }, "/manage/apps/first/keys" = {} } :
    "curl --fail-with-body -sS ${local.url}${path} -H \"Authorization: Bearer $TF_VAR_admin_key\" -H 'Content-Type: application/json' -d '${jsonencode(body)}'"
  ])
}

output "logs_url" {
  description = "The function's logs in the cloud's console."
  value       = "${local.console}logsV2:log-groups/log-group/${replace(aws_cloudwatch_log_group.function.name, "/", "$252F")}"
}

output "dashboard_url" {
  description = "The dashboard in the cloud's console."
  value       = "${local.console}dashboards/dashboard/${aws_cloudwatch_dashboard.function.dashboard_name}"
}

output "function_name" {
  description = "What the cloud's own tools call the function."
  value       = aws_lambda_function.gateway.function_name
}
